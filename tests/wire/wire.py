"""One test's view of a running sidecar: answers, forwarded requests, log lines and payments.

A table of a section says what is sent and what it must lead to; `Wire.check` holds that against all
of these. One sidecar serves a whole module of cases.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.store.commands.keys import account_keys
from tests.proxy.support import ALLOWED, policy
from tests.support.backend import Received, Run
from tests.support.rig import MODERN, Books, Reply, Rig
from tests.support.store import until
from tests.wire.expected import Forwarded, Outcome, Refused, check_refusal
from tests.wire.sent import CANARY, GOOD, SECRET, Changes, Message, changed, request, usual

# Windows that no test fills, and a tool whose schema lists a name that is refused elsewhere.
POLICY: Final = policy(
    quotas={"requests": {"day": 100_000}, "search_rows": {"month": 100_000}},
    tools={"list_taxonomy": {"arguments": {"properties": {"constructor": {"type": "string"}}}}},
)


def replies(data: bytes, *, cut: bool = False) -> list[Reply]:
    """Every final answer on a connection, in order; all of them have a length.

    With `cut` the last one may still be arriving, and does not count then.
    """
    found = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        if cut and not separator:
            break
        first, *lines = head.decode("latin-1").split("\r\n")
        assert first.startswith("HTTP/"), head
        assert separator, head
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        if status < 200:
            continue
        length = int(fields.get("content-length", 0))
        if len(data) < length:
            assert cut, "the answer was cut off"
            break
        found.append(Reply(status, fields, data[:length]))
        data = data[length:]
    return found


@dataclass(slots=True)
class Wire:
    """One test's view of the sidecar that serves its module: what has changed since it began.

    Attributes:
        token: a good one, of Ada's client.
    """

    rig: Rig
    token: str
    before: Books
    lines: int
    """Bytes that the log had."""

    @classmethod
    async def of(cls, rig: Rig) -> Wire:
        with rig.redis() as client:
            client.delete(account_keys("main", "ada").paid)
        rig.backend.received.clear()
        rig.backend.executed.clear()
        return cls(rig, rig.issuer.mint(), await rig.books(), rig.lines.stat().st_size)

    @property
    def host(self) -> str:
        return self.rig.url.split("/")[2]

    async def send(self, data: bytes) -> bytes:
        """Write these bytes; all that came back until the connection was closed."""
        return await self.rig.raw(data)

    def request(
        self,
        revision: str,
        message: Message = GOOD,
        changes: Changes | None = None,
        *,
        first: str = "POST /mcp HTTP/1.1",
        body: bytes | None = None,
    ) -> bytes:
        """A POST of a message with the usual headers but for `changes`; `body` instead of the message's own."""
        fields = changed(usual(self.host, self.token, revision, message), changes or {})
        return request(fields, message.body(revision) if body is None else body, first)

    async def post(self, revision: str, message: Message = GOOD, changes: Changes | None = None) -> bytes:
        """Send it; all that came back."""
        return await self.send(self.request(revision, message, changes))

    async def check(self, data: bytes, revision: str, *expected: Outcome) -> None:
        """Hold all that came of a connection against what its requests must have led to, in order."""
        answers = replies(data)
        assert len(answers) == len(expected), data
        for reply, outcome in zip(answers, expected, strict=True):
            if isinstance(outcome, Refused):
                check_refusal(reply, outcome, revision)
            else:
                assert reply.status == 200, reply
                assert reply.code is None, reply
        self._check_leaks(data, await self._recorded(len(expected)))
        forwarded = [outcome for outcome in expected if isinstance(outcome, Forwarded)]
        self._check_backend(revision, forwarded)
        await self.check_books(forwarded)

    async def check_books(self, forwarded: Sequence[Forwarded]) -> None:
        """Check that forwarded calls were paid, nothing else was, and nothing is held."""
        after, uses = await self.rig.books(), dict(self.before.used)
        for outcome in forwarded:
            for quota, units in outcome.uses.items():
                uses[quota] = uses.get(quota, 0) + units
        assert after.used == uses
        assert after.left() == self.before.left() - sum(outcome.credits for outcome in forwarded)
        assert after.holds == 0

    @property
    def logged(self) -> int:
        """Requests that have ended and are settled."""
        return self._log().count('"event":"call"')

    async def _recorded(self, count: int) -> str:
        """Wait until so many requests have ended; the log's new lines."""
        await until(lambda: self.logged >= count)
        assert self.logged == count
        return self._log()

    def _log(self) -> str:
        with self.rig.lines.open("rb") as file:
            file.seek(self.lines)
            return file.read().decode()

    def _check_leaks(self, answer: bytes, log: str) -> None:
        raw = b"".join(received.raw for received in self.rig.backend.received)
        assert SECRET not in (answer.decode("latin-1") + log).lower()
        for text in (answer.decode("latin-1"), log, raw.decode("latin-1")):
            assert CANARY not in text.lower()
            # Of a token's three parts the header is the same in every token; the others are secret.
            assert not any(part in text for part in self.token.split(".")[1:] if len(part) > 8)

    def _check_backend(self, revision: str, forwarded: Sequence[Forwarded]) -> None:
        backend = self.rig.backend
        assert len(backend.received) == len(forwarded), [received.raw for received in backend.received]
        runs = []
        for received, outcome in zip(backend.received, forwarded, strict=True):
            judged = outcome.text(revision)
            assert received.body.decode() == judged
            check_request(received, revision, backend.port)
            if outcome.tool is not None:
                runs.append(Run(outcome.tool, json.loads(judged)["params"]["arguments"], "ada"))
        assert backend.executed == runs


def check_request(received: Received, revision: str, port: int) -> None:
    """The framing and the headers are the sidecar's own, whatever the client's were."""
    names = [name for name, _ in received.headers]
    assert (received.method, received.target) == ("POST", "/mcp")
    assert received.header("host") == f"127.0.0.1:{port}"
    assert received.header("content-length") == str(len(received.body))
    assert received.header("content-type") == "application/json"
    assert {name for name in names if not name.startswith("mcp-param-")} <= ALLOWED
    assert len(names) == len(set(names))
    assert received.header("x-mcp-account") == "ada"
    assert received.header("x-mcp-client") == "cli-1"
    message = received.message
    assert received.header("mcp-protocol-version") == (revision if revision != "2025-03-26" else None)
    stateless = revision == MODERN
    assert received.header("mcp-method") == (message["method"] if stateless else None)
    if stateless and received.header("mcp-name") is not None:
        assert received.header("mcp-name") == message["params"]["name"]
