"""A whole sidecar in this process: real listeners, a real store, a real issuer and a scripted backend."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import redis

from sidecar.model import AmountKind
from sidecar.observe.logs import Lines
from sidecar.protocol.headers import NAME_PARAMS, encode
from sidecar.runtime.app import Sidecar
from sidecar.store.commands import changes
from sidecar.store.commands.command import Command
from sidecar.store.commands.keys import account_keys
from sidecar.workbench.loading import load
from tests.support.backend import Backend, Received
from tests.support.issuer import Issuer
from tests.support.store import StoreServer, free_port, rest, until

Json = dict[str, Any]
Headers = Mapping[str, str | None]
"""Headers in addition to the usual ones; None omits a usual one."""

STORE_POLICY = Path(__file__).parents[2] / "policies" / "storeinspect.yaml"
MODERN = "2026-07-28"
LEGACY = "2025-11-25"
ACCEPT = "application/json, text/event-stream"
REFUSAL = "mcp-policy-sidecar/refusal"
RECEIPT = "mcp-policy-sidecar/receipt"


def unstamped(message: Json) -> Json:
    """A message as the backend sent it: without the receipt that the sidecar wrote into its result."""
    result = message.get("result") or {}
    if RECEIPT not in (result.get("_meta") or {}):
        return message
    meta = {key: value for key, value in result["_meta"].items() if key != RECEIPT}
    kept = {key: value for key, value in result.items() if key != "_meta"}
    return {**message, "result": {**kept, "_meta": meta} if meta else kept}


@dataclass(slots=True)
class Reply:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The JSON data of an event stream."""
        lines = self.body.decode().splitlines()
        return [json.loads(line[5:]) for line in lines if line.startswith("data:") and line[5:].strip()]

    @property
    def event_ids(self) -> list[str]:
        """The ids of the events of an event stream."""
        return [line[4:] for line in self.body.decode().splitlines() if line.startswith("id: ")]

    @property
    def detail(self) -> Json:
        """The machine detail of a refusal, wherever this shape of answer has it."""
        document = self.json
        result = document.get("result") or {}
        found = (result.get("_meta") or {}).get(REFUSAL) or (document.get("error") or {}).get("data")
        return dict(found or document)

    @property
    def code(self) -> str | None:
        """The refusal's code; None when it is none."""
        return self.detail.get("code")


@dataclass(slots=True)
class Stream:
    """An answer that arrives event by event."""

    answer: aiohttp.ClientResponse

    @property
    def status(self) -> int:
        return self.answer.status

    async def event(self) -> str | None:
        """The next event as it was on the wire; None when the stream has ended."""
        lines: list[str] = []
        async with asyncio.timeout(30):
            while line := await self.answer.content.readline():
                if line == b"\n":
                    return "".join(lines)
                lines.append(line.decode())
        assert not lines, f"the stream ended within an event: {lines}"
        return None

    async def message(self) -> Json | None:
        """The message in the next event that has one; None when the stream has ended."""
        while (event := await self.event()) is not None:
            data = "".join(line[5:] for line in event.splitlines() if line.startswith("data:")).strip()
            if data:
                return dict(json.loads(data))
        return None


@dataclass(frozen=True, slots=True)
class Books:
    """State of one account in the store.

    Attributes:
        used: units per quota, in its fullest window.
        included: included credits used, per pool.
        balance: credits per pool that are not held.
        holds: open holds.
    """

    used: dict[str, int]
    included: dict[str, int]
    balance: dict[str, int]
    holds: int

    def left(self, pool: str = "contact") -> int:
        return self.balance.get(pool, 0)


@dataclass(slots=True)
class Rig:
    """A running sidecar and everything round it.

    Attributes:
        url: the resource, where MCP is served.
        config: the config file, for tests that reload it.
        log_file: the file its log goes to.
        headers: sent with every request, in addition to the usual ones.
        marked: event ids as clients were given them, by session and the backend's own id.
    """

    sidecar: Sidecar
    issuer: Issuer
    backend: Backend
    server: StoreServer
    url: str
    admin: str
    config: Path
    log_file: Path
    http: aiohttp.ClientSession
    ids: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    marked: dict[tuple[str | None, str], str] = field(default_factory=dict)

    # --- what it leaves behind -------------------------------------------------------------------

    @property
    def lines(self) -> Path:
        """The file its log goes to, with all lines so far."""
        assert self.sidecar.lines.flush(within=30), "the log could not be written"
        return self.log_file

    @property
    def log(self) -> list[Json]:
        """All log lines so far."""
        return [json.loads(line) for line in self.lines.read_text().splitlines()]

    @property
    def calls(self) -> list[Json]:
        """The lines of calls."""
        return [line for line in self.log if line["event"] == "call"]

    async def recorded(self, count: int = 1) -> list[Json]:
        """Wait until so many calls have ended and their settlements are known; their lines."""
        await until(lambda: len(self.calls) >= count)
        return self.calls

    async def line(self, **facts: object) -> Json:
        """Wait for the line of the one call with these facts: lines are in the order of settling, not of calls."""
        (line,) = await self.lines_with(1, **facts)
        return line

    async def lines_with(self, count: int, **facts: object) -> list[Json]:
        """Wait for the lines of at least so many calls with these facts; all that have them."""
        found: list[Json] = []

        def settled() -> bool:
            found[:] = [line for line in self.calls if facts.items() <= line.items()]
            return len(found) >= count

        await until(settled)
        return found

    async def metrics(self) -> str:
        async with self.http.get(f"{self.admin}/metrics") as answer:
            return await answer.text()

    async def metric(self, series: str) -> float | None:
        """The value of one series, named with its labels; None without it."""
        lines = (await self.metrics()).splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == series), None)

    async def ready(self) -> tuple[int, Json]:
        async with self.http.get(f"{self.admin}/readyz") as answer:
            return answer.status, await answer.json()

    # --- the store -------------------------------------------------------------------------------

    async def run(self, command: Command) -> Any:
        """Run one of the store's scripts on the sidecar's own connection."""
        return await self.sidecar.store.run(command)

    async def account(
        self, name: str = "ada", *, plan: str | None = "growth", credits: int = 0, **options: Any
    ) -> None:
        """Create an account with a plan and a balance."""
        await self.run(changes.set_account("main", name, plan=plan, create=True, **options))
        if credits:
            await self.run(
                changes.change_credits("main", name, "set", "contact", credits, operation=f"set-{name}-{credits}")
            )

    async def grant(self, account: str = "ada", client: str = "cli-1", scopes: list[str] | None = None) -> None:
        await self.run(changes.grant("main", account, account, client, scopes))

    async def revoke(self, account: str = "ada", client: str = "cli-1") -> None:
        await self.run(changes.revoke("main", account, account, client))

    async def seen(self, account: str = "ada") -> changes.Inspection:
        """The account as the store has it, behind everything that was sent to it before."""
        return changes.inspected(await self.run(changes.inspect(account_keys("main", account))))

    async def books(self, account: str = "ada") -> Books:
        """Read usage and balances of the account; sums that do not add up fail the test."""
        state = (await self.seen(account)).state
        assert not state.imbalance()
        used: dict[str, int] = {}
        for (quota, _), counter in state.quotas.items():
            used[quota] = max(used.get(quota, 0), counter.used)
        included = {pool: counter.used for (pool, _), counter in state.included.items()}
        return Books(used, included, dict(state.balances), len(state.holds))

    async def paid(self, account: str = "ada") -> set[str]:
        """The items that need not be paid again."""
        with self.redis() as client:
            members: Any = client.smembers(account_keys("main", account).paid)
        return {member.removeprefix(f"{AmountKind.CREDIT.value}:contact:") for member in members}

    def redis(self) -> redis.Redis:
        return self.server.client()

    # --- requests --------------------------------------------------------------------------------

    def message(self, method: str, params: Json | None = None, *, revision: str = MODERN, id_: Any = None) -> Json:
        """A request as a client of that revision sends it."""
        self.ids += 1
        made: Json = {
            "jsonrpc": "2.0",
            "id": self.ids if id_ is None else id_,
            "method": method,
            "params": dict(params or {}),
        }
        if revision == MODERN:
            made["params"]["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
                **made["params"].get("_meta", {}),
            }
        if method.startswith("notifications/"):
            del made["id"]
        return made

    def request_headers(
        self, message: Json, revision: str, token: str | None, extra: Headers | None = None
    ) -> dict[str, str]:
        """The headers of a POST; an empty token mints a good one, None sends none."""
        made: dict[str, str | None] = {"Accept": ACCEPT, "Content-Type": "application/json", **self.headers}
        if token is not None:
            made["Authorization"] = f"Bearer {token or self.issuer.mint()}"
        if message.get("method") != "initialize":
            made["MCP-Protocol-Version"] = revision
        if revision == MODERN and "method" in message:
            made["Mcp-Method"] = message["method"]
            name = message.get("params", {}).get(NAME_PARAMS.get(message["method"], ""))
            if isinstance(name, str):
                made["Mcp-Name"] = encode(name)
        return {name: value for name, value in {**made, **(extra or {})}.items() if value is not None}

    async def post(
        self,
        method: str,
        params: Json | None = None,
        *,
        token: str | None = "",
        revision: str = MODERN,
        id_: Any = None,
        headers: Headers | None = None,
    ) -> Reply:
        """Send one request or notification and read the answer whole."""
        message = self.message(method, params, revision=revision, id_=id_)
        return await self.send(message, self.request_headers(message, revision, token, headers))

    async def send(self, message: Json | bytes, headers: Mapping[str, str]) -> Reply:
        """POST this, with these headers and no others."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.request("POST", self.url, body, headers)

    async def request(
        self, method: str, url: str | None = None, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Any request, read whole."""
        async with self.http.request(method, url or self.url, data=body, headers=headers) as answer:
            reply = Reply(answer.status, answer.headers, await answer.read())
        for id_ in reply.event_ids if answer.content_type == "text/event-stream" else ():
            self.note_event((headers or {}).get("Mcp-Session-Id"), id_)
        return reply

    def note_event(self, session: str | None, id_: str) -> None:
        """Remember the id of an event by what the backend calls it."""
        self.marked[session, id_.split(".", 2)[-1]] = id_

    async def sent_id(self, session: str, id_: Any) -> str:
        """The id that the backend sees of a request of a session."""
        if not any(_of_session(each, session) for each in self.backend.received):
            await self.post("ping", revision=LEGACY, headers={"Mcp-Session-Id": session})
        seen = next(each.message["id"] for each in self.backend.received if _of_session(each, session))
        return f"{seen.partition('.')[0]}.{'s' if isinstance(id_, str) else 'i'}{id_}"

    async def call(self, tool: str, arguments: Json | None = None, **options: Any) -> Reply:
        """Call a tool."""
        return await self.post("tools/call", {"name": tool, "arguments": arguments or {}}, **options)

    async def respond(self, *, session: str | None = None, token: str | None = "", revision: str = LEGACY) -> Reply:
        """Post a client's response to a request of the server."""
        message: Json = {"jsonrpc": "2.0", "id": 1, "result": {}}
        return await self.send(message, self.request_headers(message, revision, token, {"Mcp-Session-Id": session}))

    def bare_headers(self, session: str | None, token: str | None, extra: Headers | None = None) -> dict[str, str]:
        """The headers of a GET or DELETE of the older revisions."""
        made = self.request_headers({}, LEGACY, token, {"Mcp-Session-Id": session, "Content-Type": None})
        return {name: value for name, value in {**made, **(extra or {})}.items() if value is not None}

    async def get(self, *, session: str | None = None, token: str | None = "", headers: Headers | None = None) -> Reply:
        """Ask for the server's own stream and read the answer whole."""
        return await self.request("GET", headers=self.bare_headers(session, token, headers))

    async def delete(
        self, *, session: str | None = None, token: str | None = "", headers: Headers | None = None
    ) -> Reply:
        """End a session."""
        return await self.request("DELETE", headers=self.bare_headers(session, token, headers))

    async def initialize(self, *, token: str | None = "", version: str = LEGACY, **params: Any) -> Reply:
        """The first request of the older revisions."""
        return await self.post(
            "initialize",
            {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}, **params},
            token=token,
            revision=LEGACY,
        )

    async def session(self, *, token: str | None = "") -> str:
        """Open a session."""
        reply = await self.initialize(token=token)
        assert reply.status == 200, reply
        return reply.headers["Mcp-Session-Id"]

    @asynccontextmanager
    async def stream(
        self,
        tool: str | None = None,
        arguments: Json | None = None,
        *,
        token: str | None = "",
        revision: str = MODERN,
        session: str | None = None,
    ) -> AsyncIterator[Stream]:
        """Call a tool, or without one GET, and read the answer as it arrives; leaving disconnects."""
        if tool is None:
            headers = self.bare_headers(session, token)
            asked = self.http.get(self.url, headers=headers)
        else:
            message = self.message("tools/call", {"name": tool, "arguments": arguments or {}}, revision=revision)
            headers = self.request_headers(message, revision, token, {"Mcp-Session-Id": session})
            asked = self.http.post(self.url, json=message, headers=headers)
        async with asked as answer:
            try:
                yield Stream(answer)
            finally:
                answer.close()

    async def raw(self, data: bytes) -> bytes:
        """Write these bytes to the public listener and read until it closes the connection."""
        address = self.sidecar.addresses["listen"]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            writer.write(data)
            async with asyncio.timeout(30):
                return await reader.read()
        finally:
            writer.transport.abort()


def _of_session(request: Received, session: str) -> bool:
    return request.header("mcp-session-id") == session and {"id", "method"} <= request.message.keys()


def config_of(
    issuer: Issuer, backend_url: str, store_url: str, port: int, policies: Path | str, **changes: Any
) -> Json:
    """A config for loopback; `changes` replace whole sections, or are merged into mappings."""
    made: Json = {
        "resource": f"http://127.0.0.1:{port}/mcp",
        "listen": f"127.0.0.1:{port}",
        "admin": "127.0.0.1:0",
        "backend": {"url": backend_url, "timeout": "60s"},
        "issuers": [{"issuer": issuer.url}],
        "store": {"url": store_url},
        "policies": [str(policies)],
        "shutdown_grace": "5s",
    }
    for name, value in changes.items():
        made[name] = {**made[name], **value} if isinstance(made.get(name), dict) and isinstance(value, dict) else value
    return made


@asynccontextmanager
async def rig(
    folder: Path,
    server: StoreServer,
    *,
    policy: Path | str | Json = STORE_POLICY,
    scripted: Backend | None = None,
    backend_url: str | None = None,
    issuer: Json | None = None,
    prepare: Callable[[Issuer], None] = lambda issuer: None,
    ready: bool = True,
    lease_margin: float = 60.0,
    store_url: str | None = None,
    tls: tuple[Json, ssl.SSLContext] | None = None,
    **changes: Any,
) -> AsyncIterator[Rig]:
    """Start everything and end it again.

    Args:
        folder: where config, policy and log are written.
        server: the store.
        policy: a file, or a policy's text or content.
        scripted: a prepared backend.
        backend_url: another backend than the scripted one.
        issuer: further settings of the issuer.
        prepare: what is to be done to the issuer before the sidecar asks it.
        ready: wait until the sidecar is ready.
        tls: `listen.tls`, and how clients meet a listener that has it.
        changes: sections of the config.
    """
    if not isinstance(policy, Path):
        written = folder / "policy.yaml"
        written.write_text(policy if isinstance(policy, str) else json.dumps(policy))
        policy = written
    port = free_port()
    lines = folder / "log.jsonl"
    url = f"http://127.0.0.1:{port}/mcp"
    if tls is not None:
        url = url.replace("http:", "https:")
        changes = {"resource": url, "listen": {"address": f"127.0.0.1:{port}", "tls": tls[0]}, **changes}
    async with Issuer(resource=url) as tokens, scripted or Backend() as backend:
        prepare(tokens)
        config = folder / "config.yaml"
        made = config_of(tokens, backend_url or backend.url, store_url or server.url, port, policy, **changes)
        made["issuers"][0].update(issuer or {})
        config.write_text(json.dumps(made))  # which is YAML, and read faster
        with lines.open("ab") as log:
            loaded = load(config)
            async with (
                Sidecar(config, loaded, Lines.of(loaded.settings.log, log.fileno()), lease_margin) as sidecar,
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=True if tls is None else tls[1]),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                ) as http,
            ):
                admin = f"http://{sidecar.addresses['admin']}"
                made_rig = Rig(sidecar, tokens, backend, server, url, admin, config, lines, http)
                if ready:
                    await until_ready(made_rig)
                yield made_rig


@asynccontextmanager
async def second_sidecar(rig: Rig, folder: Path, *, store_url: str | None = None) -> AsyncIterator[Rig]:
    """Another sidecar for the same resource, on the same store, issuer and backend.

    Args:
        rig: the one that runs.
        folder: where its config and log are written.
        store_url: another way to the store.
    """
    config, lines, port = folder / "config.yaml", folder / "log.jsonl", free_port()
    made = {**json.loads(rig.config.read_text()), "listen": f"127.0.0.1:{port}"}
    if store_url is not None:
        made["store"] = {"url": store_url}
    config.write_text(json.dumps(made))
    with lines.open("ab") as log:
        loaded = load(config)
        async with Sidecar(config, loaded, Lines.of(loaded.settings.log, log.fileno())) as sidecar:
            url = f"http://127.0.0.1:{port}/mcp"
            admin = f"http://{sidecar.addresses['admin']}"
            other = Rig(sidecar, rig.issuer, rig.backend, rig.server, url, admin, config, lines, rig.http)
            other.marked = rig.marked
            await until_ready(other)
            yield other


async def until_ready(rig: Rig) -> None:
    """Wait until `/readyz` says yes."""
    async with asyncio.timeout(60):
        while (await rig.ready())[0] != 200:
            await rest()  # each question takes time from the start that it waits for
