"""Secrets planted wherever one can come in, and looked for wherever anything goes out.

Out: the log in both formats, metrics, health pages, every byte of the traces, and the answers that the sidecar itself
makes. Only the answers of the backend may hold what the backend has said.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import ErrorCode
from tests.proxy.conftest import bare, launch
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.backend import Turn
from tests.support.collector import Collector
from tests.support.rig import LEGACY, Json, Reply, Rig
from tests.support.store import free_port, until

__all__ = ["bare", "launch"]

SECRET = "CANARY7"
"""Part of every planted text, in a form that no redaction would cut by chance."""
_CODES = frozenset(code.id for code in ErrorCode)
ENCODED = base64.b64encode(f"{SECRET}:{SECRET}{SECRET}".encode()).decode()
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(slots=True)
class House:
    """A sidecar with secrets in it, and everything that has come out of it.

    Attributes:
        out: bytes by the way out.
        tokens: whole tokens that were sent; no part of them may come out.
    """

    rig: Rig
    collector: Collector
    out: list[tuple[str, bytes]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    async def refused(self, reply: Reply, *codes: str) -> None:
        """Take an answer that the sidecar itself has made, with one of these codes or with any."""
        assert reply.code in (codes or _CODES), reply
        head = "".join(f"{name}: {value}\n" for name, value in reply.headers.items())
        self.out += [(f"body of {reply.code}", reply.body), (f"head of {reply.code}", head.encode())]

    async def collect(self) -> None:
        """Take everything else: log, metrics, health pages and traces."""
        await self.collector.of_request((await self.rig.call("list_taxonomy")).headers["X-Request-Id"])
        for page in ("metrics", "healthz", "readyz", f"nothing?{SECRET}"):
            async with self.rig.http.get(f"{self.rig.admin}/{page}") as answer:
                self.out.append((page, await answer.read()))
        self.out.append(("log", self.rig.lines.read_bytes()))
        self.out += [("trace", body) for body in self.collector.bodies]

    def leaks(self) -> list[str]:
        """Ways by which a secret came out."""
        wanted = {SECRET, ENCODED, *(part for token in self.tokens for part in token.split(".") if len(part) > 20)}
        return [f"{way}: {each}" for way, data in self.out for each in sorted(wanted) if each.encode() in data]


@asynccontextmanager
async def house(launch: Launch, tmp_path: Path, log: Json, **changes: Any) -> AsyncIterator[House]:
    os.environ["CANARY_KEY"] = f"{SECRET}-of-the-config"
    try:
        async with Collector() as collector:
            rig = await launch(
                scripted=scripted.Backend(sessions=True),
                log=log,
                tracing={
                    "endpoint": collector.url,
                    "sample": 1,
                    "headers": {"Authorization": f"Bearer {SECRET}-of-the-collector"},
                },
                **changes,
            )
            yield House(rig, collector)
    finally:
        del os.environ["CANARY_KEY"]


FORMATS = pytest.mark.parametrize(
    "log", [{"format": "json", "level": "debug"}, {"format": "console", "level": "debug"}]
)


@FORMATS
async def test_nothing_of_requests_and_answers_comes_out(launch: Launch, tmp_path: Path, log: Json):
    async with house(launch, tmp_path, log) as built:
        rig = built.rig
        await send_secrets(built)
        await answer_secrets(built)
        await built.collect()
        assert built.leaks() == []
        # The search finds what is there: the names of tools are in all of them.
        ways = {way for way, data in built.out if b"list_taxonomy" in data}
        assert ways >= {"log", "metrics", "trace"}
        assert rig.backend.executed, "secrets have reached the backend, where they belong"


async def send_secrets(built: House) -> None:
    """Send secrets in every part of a request that a caller chooses."""
    rig = built.rig
    extra = {
        "Cookie": f"session={SECRET}", "X-Api-Key": SECRET, "tracestate": f"a={SECRET}", "baggage": f"a={SECRET}",
        "User-Agent": SECRET, "Referer": f"https://x/?{SECRET}", "Forwarded": f"for={SECRET}",
    }  # fmt: skip
    rig.headers |= extra
    good = rig.issuer.mint(subject=None) if False else rig.issuer.mint()
    built.tokens |= {good, expired := rig.issuer.mint(exp=1), strange := rig.issuer.mint(aud=f"https://{SECRET}/")}
    good, expired = rig.issuer.mint(), rig.issuer.mint(exp=1)
    built.tokens |= {good, expired}
    await built.refused(await rig.call("list_taxonomy", token=expired), "token_invalid")
    built.tokens.discard(strange)
    for token in (f"{SECRET}.{SECRET}.{SECRET}", SECRET, f"eyJ{SECRET}.eyJ{SECRET}.x"):
        await built.refused(await rig.call("list_taxonomy", token=token), "token_invalid")
    for scheme in (f"Basic {ENCODED}", f"Bearer {SECRET} {SECRET}", SECRET):
        await built.refused(
            await rig.call("list_taxonomy", token=None, headers={"Authorization": scheme}),
            "token_invalid",
            "token_missing",
        )
    arguments: Json = {"contact_ids": [SECRET], "confirm_spend_credits": True}
    assert (await rig.call("reveal_contacts", arguments, token=good)).status == 200
    assert (await rig.call("reveal_contacts", arguments, token=good, headers={"traceparent": PARENT})).status == 200
    for wrong in (
        {"contact_ids": SECRET}, {"contact_ids": [SECRET, {"a": SECRET}], "confirm_spend_credits": SECRET},
        {"contact_ids": [f"{SECRET}{number}" for number in range(30)], "confirm_spend_credits": True},
    ):  # fmt: skip
        await built.refused(await rig.call("reveal_contacts", wrong), "arguments_refused", "confirmation_required")
    await built.refused(await rig.post("resources/read", {"uri": f"docs://{SECRET}"}), "resource_unknown")
    await built.refused(await rig.post(f"x/{SECRET}"), "method_not_allowed")
    await built.refused(
        await rig.call("list_taxonomy", headers={"traceparent": SECRET, "Origin": f"https://{SECRET.lower()}"})
    )
    url = f"{rig.url}?access_token={SECRET}"
    await built.refused(await rig.request("POST", url, b"{}", rig.issuer.bearer()))
    for body in (SECRET.encode(), b'{"a": "' + SECRET.encode() + b'", "a": 1}', b"\xff" + SECRET.encode()):
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        await built.refused(await rig.request("POST", rig.url, body, {**headers, **rig.issuer.bearer()}))
    session = f"session-{SECRET}"
    await built.refused(
        await rig.call("list_taxonomy", revision=LEGACY, headers={"Mcp-Session-Id": session}), "session_unknown"
    )
    await rig.raw(f"POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\0\r\n\r\n".encode())


async def answer_secrets(built: House) -> None:
    """Let the backend answer secrets, in good answers and in bad ones."""
    rig = built.rig

    async def cookie(turn: Turn) -> None:
        await turn.result(scripted.tool_result({"a": SECRET}), [("Set-Cookie", SECRET), ("Server", SECRET)])

    good: tuple[scripted.Behaviour, ...] = (
        cookie,
        scripted.tool_error(SECRET),
        scripted.rpc_error(message=SECRET),
        scripted.sse(
            {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": SECRET}}
        ),
        scripted.http(404, SECRET.encode()),
    )
    bad: tuple[scripted.Behaviour, ...] = (
        scripted.http(500, SECRET.encode()),
        scripted.http(401, b"", ("WWW-Authenticate", f'Bearer realm="{SECRET}"')),
        scripted.http(302, b"", ("Location", f"https://{SECRET}/?{SECRET}")),
        scripted.http(200, b'{"jsonrpc": ' + SECRET.encode()),
        scripted.http(200, SECRET.encode(), media=f"text/{SECRET}"),
        scripted.raw(f"HTTP/1.1 {SECRET}\r\n\r\n".encode()),
        scripted.truncated(SECRET.encode()),
    )
    for behaviour in good:
        rig.backend.once(behaviour)
        assert (await rig.call("search_shopify_stores", {"limit": 1})).status in (200, 404)
    for behaviour in bad:
        rig.backend.once(behaviour)
        await built.refused(await rig.call("search_shopify_stores", {"limit": 1}), "backend_unavailable")
    # A session id is a credential of the client that has it.
    session = await rig.session()
    assert (await rig.call("list_taxonomy", revision=LEGACY, headers={"Mcp-Session-Id": session})).status == 200
    async with rig.stream(session=session):
        pass
    built.tokens.add(session)


@FORMATS
async def test_nothing_of_the_config_comes_out(launch: Launch, tmp_path: Path, log: Json):
    """Each reload fails at a secret, or needs one that cannot be used."""
    backend = {"headers": {"X-Api-Key": f"{SECRET}-of-the-backend"}}
    async with house(launch, tmp_path, log, backend=backend) as built:
        rig = built.rig
        assert (await rig.call("list_taxonomy")).status == 200
        assert rig.backend.last.header("x-api-key") == f"{SECRET}-of-the-backend"
        config = json.loads(rig.config.read_text())
        dead = f"127.0.0.1:{free_port()}"
        (tmp_path / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n")
        issuer = config["issuers"][0]
        introspected = {"url": f"http://{dead}/?{SECRET}", "client_id": "me", "client_secret": SECRET}
        for change in (
            {"limits": {"items": "${CANARY_KEY}"}},
            {"store": {"url": f"redis://:{SECRET}@{dead}/0"}},
            {"store": {"url": f"rediss://user:{SECRET}@{dead}/0?ssl_ca_certs={SECRET}"}},
            {"store": {"url": f"http://:{SECRET}@{dead}/0"}},
            {"backend": {**config["backend"], "url": f"http://{SECRET}:{SECRET}@{dead}/mcp"}},
            {"backend": {**config["backend"], "headers": {"X-Api-Key": f"{SECRET}\n{SECRET}"}}},
            {"backend": {"url": f"https://{dead}/mcp", "tls": {"cert": "key.pem", "key": "key.pem"}}},
            {"listen": {"address": config["listen"], "tls": {"cert": "key.pem", "key": "key.pem"}}},
            {"issuers": [{**issuer, "introspection": {**introspected, "client_id": 7}}]},
            {"issuers": [{**issuer, "issuer": f"https://{SECRET}@x/"}]},
            {"tracing": {**config["tracing"], "headers": {"Authorization": f"\0{SECRET}"}}},
            {"tracing": {**config["tracing"], "headers": {"Authorization": f"Bearer {SECRET}2"}}},
        ):
            rig.config.write_text(json.dumps({**config, **change}))
            assert not await rig.sidecar.reload(), change
        rig.config.write_text(f'backend: {{headers: {{Authorization: "{SECRET}"}}')
        assert not await rig.sidecar.reload()
        # These are served: endpoints and keys that cannot be reached.
        keys = f"http://{dead}/keys?{SECRET}"
        rig.config.write_text(json.dumps({**config, "issuers": [{**issuer, "jwks_uri": keys}]}))
        assert await rig.sidecar.reload()
        reply = await rig.call("list_taxonomy", token=rig.issuer.mint())
        await built.refused(reply, "issuer_unavailable")
        rig.config.write_text(json.dumps({**config, "issuers": [{**issuer, "introspection": introspected}]}))
        assert await rig.sidecar.reload()
        await built.refused(await rig.call("list_taxonomy", token=f"{SECRET}opaque"), "issuer_unavailable")
        rig.config.write_text(
            json.dumps({**config, "backend": {**config["backend"], "url": f"http://{dead}/?{SECRET}"}})
        )
        assert await rig.sidecar.reload()
        await built.refused(await rig.call("list_taxonomy"), "backend_unavailable")
        await built.collect()
        built.out.append(("readiness", str(rig.sidecar.readiness.now()).encode()))
        assert built.leaks() == []
        assert rig.lines.read_text().count("reload_failed") >= 13


@FORMATS
async def test_nothing_of_a_store_that_cannot_be_reached_comes_out(bare: Launch, tmp_path: Path, log: Json):
    url = f"redis://{SECRET}-user:{SECRET}@127.0.0.1:{free_port()}/0"
    async with house(bare, tmp_path, log, store_url=url, ready=False) as built:
        rig = built.rig
        await until(lambda: "store" in rig.lines.read_text())
        await built.refused(await rig.call("list_taxonomy"), "store_unavailable")
        await built.collect()
        assert built.leaks() == []
        (page,) = [data for way, data in built.out if way == "readyz"]
        assert b"127.0.0.1:" in page, "the address is no secret"
