"""A whole sidecar before a backend that speaks TLS, wants a certificate or a key, or is not the one it should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.documents.merging import DocumentError
from sidecar.workbench.loading import load
from tests.proxy.support import Launch, contacts
from tests.support import backend as scripted
from tests.support.backend import Backend
from tests.support.certificates import Authority, Pair, refusing, replace
from tests.support.rig import Json, Rig, until_ready
from tests.support.store import until

SECRET = "sesame-backend-key-7Q9"


def reconfigure(rig: Rig, **changes: Any) -> None:
    config = json.loads(rig.config.read_text())
    rig.config.write_text(json.dumps({**config, "backend": {**config["backend"], **changes}}))


async def lacks(rig: Rig) -> dict[str, str]:
    _, body = await rig.ready()
    return {name: said for name, said in body["checks"].items() if said != "ok"}


async def until_logged(rig: Rig, words: str) -> None:
    """Wait until readiness says why there is no backend, and the log does too."""
    await until(lambda: any(words in (line.get("problem") or "") for line in rig.log if line["event"] == "not_ready"))
    assert words in (await lacks(rig))["backend"]


# --- certificates --------------------------------------------------------------------------------


async def test_certificates_on_both_sides(launch: Launch, authority: Authority, pair: Pair, mine: Pair):
    backend = Backend(tls=authority.server(pair, ask=True))
    rig = await launch(scripted=backend, backend={"tls": {"ca": str(authority.cert), **mine.files}})
    assert (await rig.call("reveal_contacts", contacts("a"))).status == 200
    assert [run.tool for run in backend.executed] == ["reveal_contacts"]
    ends = await rig.metric('mcp_sidecar_certificate_expiry_timestamp_seconds{side="backend"}')
    assert ends == mine.ends


async def test_a_backend_that_refuses_the_sidecar_has_run_nothing(launch: Launch, authority: Authority, pair: Pair):
    """`reveal_contacts` is charged where its outcome is unknown; here it is not unknown."""
    with refusing(authority.server(pair, ask=True)) as url:
        rig = await launch(backend_url=url, backend={"tls": {"ca": str(authority.cert)}}, ready=False)
        reply = await rig.call("reveal_contacts", contacts("a", "b"))
        assert (reply.status, reply.code) == (502, "backend_unavailable")
        await until_logged(rig, "certificate required")
        (line,) = await rig.recorded()
        assert "certificate required" in " ".join(line["notes"])
        books = await rig.books()
        assert (books.left(), books.holds) == (10, 0)
        assert await rig.metric("mcp_sidecar_backend_connected") == 0


async def test_a_backend_of_another_authority_receives_nothing(
    launch: Launch, authority: Authority, pair: Pair, tmp_path: Path
):
    backend = Backend(tls=authority.server(pair))
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority(tmp_path, "other").cert.read_bytes())
    rig = await launch(scripted=backend, backend={"tls": {"ca": str(ca)}}, ready=False)
    reply = await rig.call("list_taxonomy")
    assert (reply.status, reply.code) == (502, "backend_unavailable")
    await until_logged(rig, "its certificate is not trusted (unable to get local issuer certificate)")
    assert backend.received == []

    replace(ca, authority.cert.read_bytes())
    await until_ready(rig)  # the sidecar finds out by itself
    assert (await rig.call("list_taxonomy")).status == 200
    assert [line["side"] for line in rig.log if line["event"] == "certificate_renewed"] == ["backend"]


async def test_other_certificates_need_no_restart(launch: Launch, authority: Authority, pair: Pair, mine: Pair):
    seen: list[str] = []

    async def look(turn: scripted.Turn) -> None:
        shown = turn.writer.get_extra_info("peercert")
        seen.append(dict(item[0] for item in shown["subject"])["commonName"])
        await scripted.default()(turn)

    backend = Backend(tls=authority.server(pair, ask=True))
    backend.on("list_taxonomy", look)
    tls = {"ca": str(authority.cert), **mine.files}
    rig = await launch(scripted=backend, backend={"tls": tls})
    assert (await rig.call("list_taxonomy")).status == 200
    reconfigure(rig, tls={**tls, **authority.issue("next", alternatives=()).files})
    assert await rig.sidecar.reload()
    assert (await rig.call("list_taxonomy")).status == 200
    assert seen == ["sidecar", "next"]

    reconfigure(rig, tls={**tls, "key": str(pair.key)})
    assert not await rig.sidecar.reload()
    (line,) = [line for line in rig.log if line["event"] == "reload_failed"]
    assert "backend.tls.key: it does not match the certificate" in line["problem"]
    assert (await rig.call("list_taxonomy")).status == 200


# --- headers -------------------------------------------------------------------------------------

SPOOFED = {
    "Cookie": "session=canary",
    "X-MCP-Account": "canary",
    "X-MCP-Issuer": "canary",
    "X-MCP-Client": "canary",
    "X-MCP-Scopes": "canary",
    "X_MCP_Account": "canary",
    "X-Request-Id": "canary",
    "X-Api-Key": "canary",
    "X-Forwarded-For": "canary",
    "X-Forwarded-User": "canary",
    "Forwarded": "for=canary",
    "Proxy-Authorization": "Basic canary",
    "X-HTTP-Method-Override": "canary",
}


@pytest.fixture
async def keyed(launch: Launch, tmp_path: Path) -> Rig:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    headers = {"Authorization": "Bearer ${file:key}", "X-Api-Key": "${file:key}", "X-Tenant": "acme"}
    return await launch(scripted=Backend(sessions=True), backend={"headers": headers})


async def every_kind_of_request(rig: Rig) -> None:
    session = await rig.session()
    await rig.call("list_taxonomy", headers=SPOOFED)
    await rig.call("list_taxonomy", revision="2025-11-25", headers={**SPOOFED, "Mcp-Session-Id": session})
    await rig.post("notifications/initialized", revision="2025-11-25", headers={"Mcp-Session-Id": session, **SPOOFED})
    await rig.respond(session=session)
    async with rig.stream(session=session) as stream:
        assert stream.status == 200
    await rig.delete(session=session, headers=SPOOFED)


async def test_the_backend_s_headers_are_on_every_request_and_the_caller_s_on_none(keyed: Rig):
    token = keyed.issuer.mint()
    await every_kind_of_request(keyed)
    assert {(got.method, got.message.get("method")) for got in keyed.backend.received} == {
        ("POST", "initialize"),
        ("POST", "tools/call"),
        ("POST", "notifications/initialized"),
        ("POST", None),
        ("GET", None),
        ("DELETE", None),
    }
    for got in keyed.backend.received:
        assert got.all("authorization") == [f"Bearer {SECRET}"]
        assert got.all("x-api-key") == [SECRET]
        assert got.all("x-tenant") == ["acme"]
        assert got.header("x-mcp-account") == "ada"
        assert b"canary" not in got.raw
        assert token.split(".")[0].encode() not in got.raw


async def test_no_header_of_the_sidecar_s_own_can_be_among_them(keyed: Rig):
    await every_kind_of_request(keyed)
    await keyed.call("list_taxonomy", headers={"Mcp-Param-Region": "eu"})
    sent = {name for got in keyed.backend.received for name, _ in got.headers} - {
        "authorization",
        "x-api-key",
        "x-tenant",
    }
    assert {"host", "accept", "x-mcp-account", "x-request-id", "mcp-session-id", "mcp-name", "traceparent"} <= sent
    for name in sent:
        reconfigure(keyed, headers={name: "x"})
        with pytest.raises(DocumentError, match="a header that the sidecar sets itself"):
            load(keyed.config)


async def test_they_are_shown_nowhere(keyed: Rig, capfd: pytest.CaptureFixture[str]):
    keyed.backend.once(scripted.http(500, b"{}"), scripted.http(401, b"{}"), scripted.reset(), scripted.hang_up())
    replies = [await keyed.call("list_taxonomy") for _ in range(5)]
    assert [reply.status for reply in replies] == [502, 502, 502, 502, 200]
    (keyed.config.parent / "key").write_text(f"{SECRET}\nX-Evil: 1")
    assert not await keyed.sidecar.reload()
    await keyed.recorded(5)
    problems = [line["problem"] for line in keyed.log if line["event"] == "reload_failed"]
    assert all("not a header value; accepted: visible ASCII on one line" in problem for problem in problems)
    assert len(problems) == 2
    shown = [reply.body.decode() + str(reply.headers) for reply in replies]
    shown += [keyed.lines.read_text(), await keyed.metrics(), str(await keyed.ready()), str(capfd.readouterr())]
    assert not [text for text in shown if SECRET in text]


async def test_a_reload_changes_them(keyed: Rig):
    await keyed.call("list_taxonomy")
    (keyed.config.parent / "key").write_text("12345")  # text, although it looks like a number
    assert await keyed.sidecar.reload()
    await keyed.call("list_taxonomy")
    assert keyed.backend.last.header("x-api-key") == "12345"
    changed: Json = {"X-Tenant": "other"}
    reconfigure(keyed, headers=changed)
    assert await keyed.sidecar.reload()
    await keyed.call("list_taxonomy")
    assert keyed.backend.last.header("x-tenant") == "other"
    assert keyed.backend.last.all("x-api-key") == keyed.backend.last.all("authorization") == []
