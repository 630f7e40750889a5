"""A whole sidecar in this process: real listeners, a real store, a real issuer and a scripted backend."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import redis
import yaml

from sidecar.ledger import scripts
from sidecar.ledger.store import Command
from sidecar.observe.logs import Lines
from sidecar.proxy.app import Sidecar
from sidecar.workbench.load import load
from tests.support.backend import Backend
from tests.support.issuer import Issuer
from tests.support.store import StoreServer, free_port

Json = dict[str, Any]

STORE_POLICY = Path(__file__).parents[2] / "policies" / "storeinspect.yaml"
MODERN = "2026-07-28"
ACCEPT = "application/json, text/event-stream"


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
    def code(self) -> str | None:
        """The refusal's code, wherever this shape of answer has it."""
        document = self.json
        result = document.get("result") or {}
        found = (result.get("_meta") or {}).get("mcp-policy-sidecar/refusal") or (document.get("error") or {}).get(
            "data"
        )
        return (found or document).get("code")


@dataclass(slots=True)
class Rig:
    """A running sidecar and everything round it.

    Attributes:
        lines: the file its log goes to.
    """

    sidecar: Sidecar
    issuer: Issuer
    backend: Backend
    server: StoreServer
    url: str
    admin: str
    lines: Path
    http: aiohttp.ClientSession
    ids: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> list[Json]:
        """All log lines so far."""
        return [json.loads(line) for line in self.lines.read_text().splitlines()]

    @property
    def calls(self) -> list[Json]:
        """The lines of calls."""
        return [line for line in self.log if line["event"] == "call"]

    async def run(self, command: Command) -> Any:
        """Run one of the store's scripts on the sidecar's own connection."""
        return await self.sidecar.store.run(command)

    async def account(self, name: str = "ada", *, plan: str = "growth", credits: int = 0, **options: Any) -> None:
        """Create an account with a plan and a balance."""
        await self.run(scripts.set_account("main", name, plan=plan, create=True, **options))
        if credits:
            await self.run(
                scripts.change_credits("main", name, "set", "contact", credits, operation=f"set-{name}-{credits}")
            )

    async def grant(self, account: str = "ada", client: str = "cli-1", scopes: list[str] | None = None) -> None:
        await self.run(scripts.grant("main", account, account, client, scopes))

    async def revoke(self, account: str = "ada", client: str = "cli-1") -> None:
        await self.run(scripts.revoke("main", account, account, client))

    async def seen(self, account: str = "ada") -> scripts.Inspection:
        """The account as the store has it."""
        from sidecar.ledger.keys import account_keys

        return scripts.inspected(await self.run(scripts.inspect(account_keys("main", account))))

    def redis(self) -> redis.Redis:
        return self.server.client()

    def message(self, method: str, params: Json | None = None, *, revision: str = MODERN, id_: Any = None) -> Json:
        """A request as a client of that revision sends it."""
        self.ids += 1
        named = dict(params or {})
        if revision == MODERN:
            named["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
                **named.get("_meta", {}),
            }
        return {"jsonrpc": "2.0", "id": self.ids if id_ is None else id_, "method": method, "params": named}

    def request_headers(
        self, message: Json, revision: str, token: str | None, extra: Mapping[str, str | None]
    ) -> dict[str, str]:
        made: dict[str, str | None] = {"Accept": ACCEPT, "Content-Type": "application/json", **self.headers}
        if token is not None:
            made["Authorization"] = f"Bearer {token or self.issuer.mint()}"
        if message.get("method") != "initialize":
            made["MCP-Protocol-Version"] = revision
        if revision == MODERN:
            made["Mcp-Method"] = message["method"]
            params = message.get("params", {})
            if isinstance(params.get("name"), str):
                made["Mcp-Name"] = params["name"]
        return {name: value for name, value in {**made, **extra}.items() if value is not None}

    async def post(
        self,
        method: str,
        params: Json | None = None,
        *,
        token: str | None = "",
        revision: str = MODERN,
        id_: Any = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Reply:
        """Send one request and read the answer whole; an empty token mints a good one, None sends none."""
        message = self.message(method, params, revision=revision, id_=id_)
        return await self.send(message, self.request_headers(message, revision, token, headers or {}))

    async def send(self, message: Json | bytes, headers: Mapping[str, str]) -> Reply:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        async with self.http.post(self.url, data=body, headers=headers) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def call(self, tool: str, arguments: Json | None = None, **options: Any) -> Reply:
        """Call a tool."""
        return await self.post("tools/call", {"name": tool, "arguments": arguments or {}}, **options)

    async def metrics(self) -> str:
        async with self.http.get(f"{self.admin}/metrics") as answer:
            return await answer.text()

    async def ready(self) -> tuple[int, Json]:
        async with self.http.get(f"{self.admin}/readyz") as answer:
            return answer.status, await answer.json()


def config_of(
    issuer: Issuer, backend_url: str, store_url: str, port: int, policies: Path | str, **changes: Any
) -> Json:
    """A config for loopback; `changes` replace whole sections, or are merged into mappings."""
    made: Json = {
        "resource": f"http://127.0.0.1:{port}/mcp",
        "listen": f"127.0.0.1:{port}",
        "admin": "127.0.0.1:0",
        "backend": {"url": backend_url, "timeout": "10s"},
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
    backend: Backend | None = None,
    backend_url: str | None = None,
    ready: bool = True,
    lease_margin: float = 60.0,
    store_url: str | None = None,
    **changes: Any,
) -> AsyncIterator[Rig]:
    """Start everything and end it again.

    Args:
        folder: where config, policy and log are written.
        server: the store.
        policy: a file, or a policy's text or content.
        backend: a prepared backend.
        backend_url: another backend than the scripted one.
        ready: wait until the sidecar is ready.
        changes: sections of the config.
    """
    if not isinstance(policy, Path):
        written = folder / "policy.yaml"
        written.write_text(policy if isinstance(policy, str) else yaml.safe_dump(policy))
        policy = written
    port = free_port()
    lines = folder / "log.jsonl"
    async with Issuer(resource=f"http://127.0.0.1:{port}/mcp") as issuer, backend or Backend() as scripted:
        config = folder / "config.yaml"
        made = config_of(issuer, backend_url or scripted.url, store_url or server.url, port, policy, **changes)
        config.write_text(yaml.safe_dump(made))
        with lines.open("ab") as log:
            loaded = load(config)
            async with (
                Sidecar(config, loaded, Lines(loaded.settings.log.level, fd=log.fileno()), lease_margin) as sidecar,
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
            ):
                admin = f"http://{sidecar.addresses['admin']}"
                made_rig = Rig(sidecar, issuer, scripted, server, f"http://127.0.0.1:{port}/mcp", admin, lines, http)
                if ready:
                    await until_ready(made_rig)
                yield made_rig


async def until_ready(rig: Rig) -> None:
    """Wait until `/readyz` says yes."""
    import asyncio

    async with asyncio.timeout(10):
        while (await rig.ready())[0] != 200:
            await asyncio.sleep(0.01)
