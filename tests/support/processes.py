"""Sidecars as processes of their own, to be killed, stopped and asked to leave; and what the store then says.

async with house(tmp_path, server.url) as built:
    sidecar = await built.start()
    reply = await built.call(sidecar, "reveal_contacts", {"contact_ids": ["a"]})
    await sidecar.kill()
    assert ledger.look().balanced
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, cast

import aiohttp
import redis
import yaml

from sidecar.cli import main as mcp_sidecar
from sidecar.store.commands import changes
from sidecar.store.commands.command import ChangeCode, Command
from sidecar.store.commands.keys import account_keys
from sidecar.window_rules import Window
from tests.support.backend import Backend
from tests.support.issuer import Issuer
from tests.support.rig import ACCEPT, MODERN, Reply, config_of

Json = dict[str, Any]

POOL = "contact"


Included = tuple[Window, int]
"""Window and credits of a pool that a plan includes."""


def paid_policy(timeout: str = "60s", included: Included | None = None) -> str:
    """Two tools that cost credits: items paid once (unknown outcomes settle), and plain ones (they release).

    Args:
        timeout: of both.
        included: credits of the pool that everybody's plan includes; then calls and rows are counted, too, in
            quotas that are never used up.
    """
    return f"""
scopes: {{}}
consent: first_use
credits: {{contact: One per contact or domain.}}
{_counted(*included) if included else ""}
tools:
  reveal_contacts:
    scopes: []
    arguments:
      properties: {{contact_ids: {{type: array, items: {{type: string}}}}}}
      required: [contact_ids]
    spends: {{contact: {{items: arguments.contact_ids, settle: "data.contacts[].id", once: true}}}}
    uses: {_USES["reveal_contacts"] if included else "{}"}
    timeout: {timeout}
  enrich_shopify_domains:
    scopes: []
    arguments:
      properties: {{domains: {{type: array, items: {{type: string}}}}}}
      required: [domains]
    spends: {{contact: {{reserve: length(arguments.domains), settle: length(data.rows)}}}}
    uses: {_USES["enrich_shopify_domains"] if included else "{}"}
    timeout: {timeout}
  get_usage: {{scopes: [], serve: usage}}
"""


_USES = {
    "reveal_contacts": "{requests: 1}",
    "enrich_shopify_domains": "{requests: 1, rows: {reserve: length(arguments.domains), settle: length(data.rows)}}",
}


def _counted(window: Window, included: int) -> str:
    return f"""
quotas: {{requests: {{minute: 1000000, day: 100000000}}, rows: {{hour: 100000000}}}}
default_plan: growth
plans: {{growth: {{credits: {{contact: {{{window}: {included}}}}}}}}}
"""


async def wait_for(condition: Callable[[], bool], within: float = 120.0) -> None:
    """Wait until the condition, which may be dear to ask, holds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - looks at other processes, where no event can be set
            await asyncio.sleep(0.005)


# --- one process ---------------------------------------------------------------------------------


class Nursery:
    """Forks sidecars from one process that has imported everything: a new Python takes seconds to start.

    It lives as long as its user, and so do those it forked.

    Args:
        before: words before its command, such as those of `unshared`.
    """

    def __init__(self, before: Sequence[str] = ()) -> None:
        code = Path(__file__).with_name("nursery.py")
        self._process = subprocess.Popen(
            [*before, sys.executable, "-P", str(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, *words: object) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(*words, sep="\t", file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()

    def start(self, config: Path, log: Path, margin: float) -> int:
        """Run the serve command; its pid."""
        return int(self._ask("start", config, log, margin))

    def status(self, pid: int) -> int | None:
        """Exit status of a process; None while it runs. Do not ask again after the status was returned."""
        answer = self._ask("status", pid)
        return None if answer == "running" else int(answer)


@functools.cache
def nursery() -> Nursery:
    return Nursery()


class Served(Protocol):
    """A sidecar to be called, however it was started."""

    url: str


class SidecarProcess:
    """The serve command as a process of its own.

    Args:
        config: its config file; it listens on ports of its own choice.
        log: where its lines go.
        margin: seconds that holds outlive their call's timeout.
        stdout: a pipe that something else reads into the log; None: the log itself.
        parent: the process that forks it.
    """

    def __init__(
        self, config: Path, log: Path, margin: float, *, stdout: Path | None = None, parent: Nursery | None = None
    ) -> None:
        log.touch()
        self.log = log
        self.url = ""
        self.admin = ""
        self._parent = parent or nursery()
        self.pid = self._parent.start(config, stdout or log, margin)
        self._status: int | None = None

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        if self._status is None:
            self._status = self._parent.status(self.pid)
        return self._status

    @property
    def lines(self) -> list[Json]:
        """Its log lines so far."""
        text = self.log.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[Json]:
        """Its log lines of one event."""
        return [line for line in self.lines if line["event"] == name]

    async def listening(self) -> Self:
        """Wait until it has said where it listens."""

        def is_ready() -> bool:
            assert self.status is None, self.log.read_text()
            return bool(self.events("listening"))

        await wait_for(is_ready)
        [line] = self.events("listening")
        self.url, self.admin = f"http://{line['listen']}/mcp", f"http://{line['admin']}"
        return self

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def pause(self) -> None:
        """SIGSTOP: it lives, and does nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM: it is asked to leave."""
        self.signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait for its end; its exit status."""
        await wait_for(lambda: self.status is not None)
        return cast(int, self.status)

    async def kill(self) -> None:
        """kill -9, and reap."""
        self.signal(signal.SIGKILL)
        await self.ended()

    def destroy(self) -> None:
        """See that it is gone, however the test ended."""
        if self.status is None:
            self.signal(signal.SIGKILL)
            while self.status is None:
                time.sleep(0.005)


# --- everything round it -------------------------------------------------------------------------


@dataclass(slots=True)
class House:
    """Shared parts of several sidecars: files, an issuer, a backend, a store."""

    folder: Path
    config: Path
    issuer: Issuer
    backend: Backend
    http: aiohttp.ClientSession
    margin: float
    processes: list[SidecarProcess] = field(default_factory=list)
    ids: int = 0

    def launch(self) -> SidecarProcess:
        """Start one more sidecar without waiting for anything."""
        made = SidecarProcess(self.config, self.folder / f"log-{len(self.processes)}.jsonl", self.margin)
        self.processes.append(made)
        return made

    async def start(self, *, ready: bool = True) -> SidecarProcess:
        """Start one more sidecar."""
        made = await self.launch().listening()
        if ready:
            await self.until_ready(made)
        return made

    async def ready(self, sidecar: SidecarProcess) -> tuple[int, Json]:
        async with self.http.get(f"{sidecar.admin}/readyz") as answer:
            return answer.status, await answer.json()

    async def until_ready(self, sidecar: SidecarProcess) -> None:
        async with asyncio.timeout(120):
            while (await self.ready(sidecar))[0] != 200:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.01)

    async def verified(self, account: str = "ada") -> bool:
        """Return if `usage --verify` finds that every balance follows from the journal."""
        words = ["usage", account, "--verify", "--config", str(self.config)]
        return await asyncio.to_thread(mcp_sidecar, words) == 0

    async def call(
        self,
        sidecar: Served,
        tool: str,
        arguments: Json | None = None,
        *,
        account: str = "ada",
        revision: str = MODERN,
    ) -> Reply:
        """Call a tool and read the answer whole.

        Raises:
            aiohttp.ClientError: the sidecar went away.
        """
        self.ids += 1
        params: Json = {"name": tool, "arguments": arguments or {}}
        headers = {
            "Accept": ACCEPT,
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self.issuer.mint(subject=account)}",
            "MCP-Protocol-Version": revision,
        }
        if revision == MODERN:
            headers |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        message = {"jsonrpc": "2.0", "id": self.ids, "method": "tools/call", "params": params}
        async with self.http.post(sidecar.url, json=message, headers=headers) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def reveal(self, sidecar: SidecarProcess, *items: str, revision: str = MODERN) -> Reply:
        """The call that is paid once per item."""
        return await self.call(sidecar, "reveal_contacts", {"contact_ids": list(items)}, revision=revision)

    async def enrich(self, sidecar: SidecarProcess, count: int, revision: str = MODERN) -> Reply:
        """The call that costs `count` credits each time."""
        domains = [f"d{number}.example" for number in range(count)]
        return await self.call(sidecar, "enrich_shopify_domains", {"domains": domains}, revision=revision)


def succeeded(reply: Reply | BaseException) -> bool:
    """Return if a call returned the result of its tool."""
    if isinstance(reply, BaseException) or reply.status != 200:
        return False
    result = reply.events[-1].get("result") if reply.body.startswith(b"event:") else reply.json.get("result")
    return result is not None and not result.get("isError")


@asynccontextmanager
async def house(
    folder: Path,
    store_url: str,
    *,
    policy: str | None = None,
    backend: Backend | None = None,
    backend_url: Callable[[Backend], str] = lambda backend: backend.url,
    backend_settings: Json | None = None,
    margin: float = 60.0,
    **changes: Any,
) -> AsyncIterator[House]:
    """Everything sidecars need, and the end of those that were started.

    Args:
        folder: where config, policy and logs are written.
        store_url: the store.
        policy: the policy's text.
        backend: a prepared backend.
        backend_url: where sidecars find it.
        backend_settings: what else the config says of it.
        margin: seconds that holds outlive their call's timeout.
        changes: sections of the config.
    """
    (folder / "policy.yaml").write_text(policy or paid_policy())
    # Every sidecar listens on a free port; no process listens on the port of the resource.
    async with Issuer(resource="http://127.0.0.1:1/mcp") as issuer, backend or Backend() as scripted:
        made = config_of(
            issuer,
            backend_url(scripted),
            store_url,
            1,
            folder / "policy.yaml",
            **{"listen": "127.0.0.1:0", "backend": backend_settings or {}, **changes},
        )
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(made))
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
            built = House(folder, config, issuer, scripted, http, margin)
            try:
                yield built
            finally:
                for process in built.processes:
                    process.destroy()


class Floodgate:
    """A TCP port in front of the backend; while it is shut, what clients send stays here.

    Attributes:
        held: bytes that arrived while it was shut.
    """

    def __init__(self) -> None:
        self.shut = False
        self.held = b""
        self.target = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def url(self, backend: Backend) -> str:
        """URL of the backend through this proxy."""
        assert self._server is not None
        self.target = backend.port
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{backend.path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        mine = {writer, up_writer}
        self._writers |= mine
        try:
            await asyncio.gather(self._pump(reader, up_writer, inward=True), self._pump(up_reader, writer))
        finally:
            for one in mine:
                one.transport.abort()
            self._writers -= mine

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inward: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if inward and self.shut:
                    self.held += data
                else:
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


# --- what the store says -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """One account's credits, seen in one instant.

    Attributes:
        granted: all that was ever given, by the journal.
        balance: what is left.
        held: what open holds have taken.
        spent: what calls have taken of the balance, by the journal; of entries that it has folded, also what others
            took.
        taken: what others have taken of it, by the journal.
        holds: open holds, by call id.
        leases: when they end, in milliseconds of the store's clock.
        paid: items paid.
        counters: what is used of quotas and included credits, as it is stored.
        entries: the journal of calls, oldest first, each with the moment it was written.
    """

    granted: int
    balance: int
    held: int
    spent: int
    taken: int
    holds: Mapping[str, Json]
    leases: Mapping[str, int]
    paid: set[str]
    counters: Mapping[str, str]
    entries: tuple[tuple[int, Json], ...]

    @property
    def balanced(self) -> bool:
        """The one equation."""
        return self.balance >= 0 and self.balance + self.held + self.spent + self.taken == self.granted


_ENDINGS = ("settled", "released", "late")


class Accounts:
    """The store, seen and changed past every sidecar.

    Args:
        path: its socket.
        account: whose records.
    """

    def __init__(self, path: Path, account: str = "ada") -> None:
        self._account = account
        self._keys = account_keys("main", account)
        self._client = redis.Redis(unix_socket_path=str(path), decode_responses=True, socket_timeout=20)

    def run(self, command: Command) -> Any:
        """Run one of the sidecar's scripts, as the commands do."""
        source, words = command.script.source, (*command.keys, *command.arguments)
        return self._client.eval(source, len(command.keys), *words)

    def grant(self, credits: int) -> None:
        """Give credits to the account, which is created."""
        self._change("grant", credits)

    def spend(self, credits: int, operation: str | None = None, included: Included | None = None) -> bool:
        """Spend, as another program does; False when there is too little.

        Args:
            credits: how many.
            operation: its id, to ask again after an answer that was lost.
            included: what the account's plan includes, which is spent first.
        """
        return self._change("spend", credits, operation, included) is ChangeCode.DONE

    def _change(
        self, verb: str, credits: int, operation: str | None = None, included: Included | None = None
    ) -> ChangeCode:
        named = operation or os.urandom(8).hex()
        command = changes.change_credits(
            "main", self._account, verb, POOL, credits, operation=named, included=included, create=True
        )
        return changes.credited(self.run(command)).code

    def consent(self, granted: bool, client: str = "cli-1") -> None:
        """Grant or revoke the consent of the account's own subject."""
        change = changes.grant if granted else changes.revoke
        self.run(change("main", self._account, self._account, client))

    def end_leases(self) -> None:
        """Expire every lease: the next reader resolves the open calls."""
        calls: Any = self._client.zrange(self._keys.leases, 0, -1)
        for call in calls:
            self._client.zadd(self._keys.leases, {call: 1}, xx=True)

    def look(self) -> Look:
        """Read without changing anything; the sidecar's own way of reading resolves what is overdue."""
        keys = self._keys
        pipe = self._client.pipeline(transaction=True)
        pipe.hgetall(keys.ledger)
        pipe.hgetall(keys.holds)
        pipe.zrange(keys.leases, 0, -1, withscores=True)
        pipe.smembers(keys.paid)
        pipe.xrange(keys.usage)
        ledger, holds, leases, paid, journal = pipe.execute()
        opened = {call: json.loads(text) for call, text in holds.items()}
        price, change = f"credit:{POOL}", f"change:{POOL}"
        _, granted, spent = map(int, ledger.get(f"checkpoint:{POOL}", "0:0:0").split(":"))  # the entries folded so far
        amounts = [each for hold in opened.values() for each in hold["amounts"] if each["kind"] == "credit"]
        return Look(
            granted=granted + sum(int(entry[price]) for _, entry in journal if entry["event"] == "grant"),
            balance=int(ledger.get(f"balance:{POOL}", 0)),
            held=sum(int(amount["balance"]) for amount in amounts),
            spent=spent - sum(int(entry.get(change, 0)) for _, entry in journal if entry["event"] in _ENDINGS),
            taken=-sum(int(entry[change]) for _, entry in journal if entry["event"] == "spend"),
            holds=opened,
            leases={call: int(score) for call, score in leases},
            paid={member.removeprefix(f"{price}:") for member in paid},
            counters={name: value for name, value in ledger.items() if name.startswith(("quota:", "included:"))},
            entries=tuple((int(id_.partition("-")[0]), entry) for id_, entry in journal if entry["event"] in _ENDINGS),
        )

    @contextmanager
    def watched(self) -> Iterator[list[Look]]:
        """Look again and again, in a thread, until the end of the block; then every look must have balanced.

        Gives the looks so far. While the store is away nothing is seen.
        """
        looks: list[Look] = []
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                with contextlib.suppress(redis.RedisError, OSError):
                    looks.append(self.look())
                over.wait(0.03)

        thread = threading.Thread(target=watch, name="auditor")
        thread.start()
        try:
            yield looks
        finally:
            over.set()
            thread.join()
        assert looks, "nothing was seen"
        assert [look for look in looks if not look.balanced] == []

    def close(self) -> None:
        self._client.close()


@contextmanager
def accounts(path: Path, credits: int = 0, account: str = "ada") -> Iterator[Accounts]:
    """One account of a store, with so many credits granted."""
    made = Accounts(path, account)
    try:
        if credits:
            made.grant(credits)
        yield made
    finally:
        made.close()
