"""Expected outcome of a message: a refusal in the contract's shape, or one call that is forwarded and paid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.support.rig import MODERN, REFUSAL, Json, Reply
from tests.wire.sent import BOTH, SECRET, Message, meta


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to what is not let through.

    Attributes:
        status: HTTP status, or several where the server's own parser may be first.
        code: the refusal's code.
        number: the JSON-RPC error number; None for a tool result and for problem JSON.
        older: status and number in the revisions before 2026-07-28, where they differ.
    """

    status: int
    code: str
    number: int | None = None
    older: tuple[int, int | None] | None = None

    def expected(self, revision: str) -> tuple[int, int | None]:
        return self.older if self.older is not None and revision != MODERN else (self.status, self.number)


UNPARSABLE: Final = Refused(400, "message_unparsable", -32700)
MALFORMED: Final = Refused(400, "message_malformed", -32600)
PARAMS: Final = Refused(400, "params_malformed", -32602)
MISMATCH: Final = Refused(400, "header_mismatch", -32020, older=(400, -32600))
VERSION: Final = Refused(400, "version_unsupported", -32022)
NO_METHOD: Final = Refused(404, "method_not_allowed", -32601, older=(200, -32601))
NO_TOOL: Final = Refused(200, "tool_unknown", -32602)
SESSION: Final = Refused(404, "session_unknown", 4041)
ARGUMENTS: Final = Refused(200, "arguments_refused")
UNCONFIRMED: Final = Refused(200, "confirmation_required")
MEDIA: Final = Refused(415, "media_type_unsupported")
HTTP: Final = Refused(400, "request_malformed")
NO_PATH: Final = Refused(404, "path_unknown")
NO_VERB: Final = Refused(405, "http_method_refused")
NO_TOKEN: Final = Refused(401, "token_missing")
BAD_TOKEN: Final = Refused(401, "token_invalid")
ORIGIN: Final = Refused(403, "origin_refused")
HOST: Final = Refused(403, "host_refused")


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A forwarded call and its cost.

    Attributes:
        message: the one message that was judged, as text with `<meta>` where `_meta` goes: what is
            forwarded is this, byte for byte.
        uses: what was added to the quotas.
        credits: what was taken from the balance.
        tool: the tool that ran; None when none did.
    """

    message: str
    uses: Mapping[str, int] = field(default_factory=lambda: {"requests": 1})
    credits: int = 0
    tool: str | None = "list_taxonomy"

    def text(self, revision: str) -> str:
        return self.message.replace("<meta>", meta(revision))


def kept(arguments: str, name: str = "list_taxonomy", *, id_: str = "1", **rest: Any) -> Forwarded:
    """A call that is forwarded with these arguments, byte for byte."""
    params = f'{{"name":"{name}","arguments":{arguments}<meta>}}'
    return Forwarded(f'{{"jsonrpc":"2.0","id":{id_},"method":"tools/call","params":{params}}}', tool=name, **rest)


def kept_note(more: str) -> Forwarded:
    """Outcome of `noted`."""
    return kept(f'{{"note":"{SECRET}",{more}}}')


FORWARDED: Final = kept("{}")
"""Outcome of the good call."""

Outcome = Refused | Forwarded


@dataclass(frozen=True, slots=True)
class Eras:
    """Outcomes that differ by revision."""

    modern: Outcome
    older: Outcome


Table = Mapping[str, Mapping[str, tuple[Message, Outcome | Eras]]]
"""Behaviours by what they are an attack on; each with what is sent and what it must lead to."""


def cases(table: Table, revisions: Iterable[str] = BOTH) -> pytest.MarkDecorator:
    """Parametrise a test by `message`, `outcome` and `revision`."""
    made = [
        pytest.param(message, _of(outcome, revision), revision, id=f"{row}: {name}, {revision[:7]}")
        for row, behaviours in table.items()
        for name, (message, outcome) in behaviours.items()
        for revision in revisions
    ]
    return pytest.mark.parametrize(("message", "outcome", "revision"), made)


def _of(outcome: Outcome | Eras, revision: str) -> Outcome:
    if isinstance(outcome, Eras):
        return outcome.modern if revision == MODERN else outcome.older
    return outcome


def check_refusal(reply: Reply, refused: Refused, revision: str) -> None:
    """Status, shape and number are the contract's."""
    status, number = refused.expected(revision)
    assert (reply.status, reply.code) == (status, refused.code), reply
    assert len(reply.headers["x-request-id"]) == 32
    assert ("www-authenticate" in reply.headers) == (status == 401)
    document: Json = reply.json
    if number is not None:
        assert document["error"]["code"] == number
        assert reply.headers["content-type"] == "application/json"
    elif status == 200:
        assert document["result"]["isError"] is True
        assert document["result"]["_meta"][REFUSAL]["code"] == refused.code
    elif status == 401:
        assert "error" not in document or document["error"]["code"] > 0
    else:
        assert reply.headers["content-type"] == "application/problem+json"
