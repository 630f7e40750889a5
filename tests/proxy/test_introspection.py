"""Opaque tokens through the whole sidecar, with an introspection endpoint over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pytest_aiohttp import AiohttpServer

from tests.proxy.support import Launch
from tests.support.backend import Backend
from tests.support.introspection import CLIENT_SECRET, Introspection
from tests.support.issuer import Issuer
from tests.support.rig import Rig, until_ready
from tests.support.store import until

Start = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def endpoint(aiohttp_server: AiohttpServer) -> Introspection:
    return await Introspection().serve(aiohttp_server)


def keyless(issuer: Issuer) -> None:
    """An issuer of opaque tokens only."""
    issuer.fault = 404


@pytest.fixture
def start(launch: Launch, endpoint: Introspection) -> Start:
    """Starts a sidecar whose issuer is asked about opaque tokens; it has keys only when `keys` says so."""

    async def started(
        *, keys: bool = False, issuer: Any = None, scripted: Backend | None = None, ready: bool = True, **changes: Any
    ) -> Rig:
        section = {"introspection": {**endpoint.settings, **changes}, **(issuer or {})}
        prepare = (lambda _: None) if keys else keyless
        rig = await launch(issuer=section, prepare=prepare, scripted=scripted, ready=ready)
        endpoint.issuer, endpoint.resource = rig.issuer.url, rig.url
        return rig

    return started


# --- calls ---------------------------------------------------------------------------------------


async def test_a_call_with_an_opaque_token(start: Start, endpoint: Introspection):
    rig = await start()
    token = endpoint.mint(scopes=["stores:read"])
    for _ in range(5):
        assert (await rig.call("list_taxonomy", token=token)).status == 200
    assert endpoint.questions(token) == 1
    forwarded = [rig.backend.last.header(name) for name in ("x-mcp-account", "x-mcp-client", "x-mcp-scopes")]
    assert forwarded == ["ada", "cli-1", "stores:read"]
    assert not any(token.encode() in each.raw for each in rig.backend.received)
    line = (await rig.recorded())[0]
    assert (line["issuer"], line["account"], line["client_id"]) == (rig.issuer.url, "ada", "cli-1")
    assert (await rig.call("reveal_contacts", token=token)).code == "insufficient_scope"


async def test_a_revoked_token_is_refused_at_the_next_call_when_nothing_is_cached(
    start: Start, endpoint: Introspection
):
    rig = await start(cache="0s")
    token = endpoint.mint()
    assert (await rig.call("list_taxonomy", token=token)).status == 200
    endpoint.revoke(token)
    reply = await rig.call("list_taxonomy", token=token)
    assert (reply.status, reply.code) == (401, "token_invalid")
    challenge = reply.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer error="invalid_token", resource_metadata="')
    assert len(rig.backend.received) == 1


async def test_the_store_still_says_whether_the_client_may(start: Start, endpoint: Introspection):
    rig = await start()
    token = endpoint.mint()
    assert (await rig.call("list_taxonomy", token=token)).status == 200
    await rig.revoke()
    reply = await rig.call("list_taxonomy", token=token)
    assert reply.status == 401  # issued before the revocation: approving again cures it
    assert endpoint.questions(token) == 1


@pytest.mark.parametrize(
    "members",
    [
        {"aud": "https://other.example"},
        {"aud": None},
        {"cnf": {"x5t#S256": "x"}},
        {"token_type": "DPoP"},
        {"active": "true"},
        {"exp": 1, "iat": 0},
        {"client_id": None},
    ],
    ids=lambda members: "-".join(map(str, members)),
)
async def test_a_token_that_is_not_for_here_is_refused(start: Start, endpoint: Introspection, members: dict[str, Any]):
    rig = await start()
    reply = await rig.call("list_taxonomy", token=endpoint.mint(**members))
    assert (reply.status, reply.code) == (401, "token_invalid")
    assert rig.backend.received == []


async def test_a_jwt_is_not_shown_to_the_endpoint(start: Start, endpoint: Introspection):
    rig = await start(keys=True)
    assert (await rig.call("list_taxonomy")).status == 200
    foreign = rig.issuer.mint(iss="https://other.example")
    reply = await rig.call("list_taxonomy", token=foreign)
    assert (reply.status, reply.code) == (401, "token_invalid")
    assert endpoint.questions(foreign) == 0
    assert endpoint.about_minted == []


async def test_a_stream_whose_token_has_no_end_ends_with_what_was_said_of_it(start: Start, endpoint: Introspection):
    rig = await start(scripted=Backend(sessions=True), issuer={"leeway": "0s"}, cache="4s")
    async with rig.stream(token=endpoint.mint(exp=None)) as stream:
        assert stream.status == 200
        assert await stream.event() == ": the access token has expired\n"
        assert await stream.event() is None
    await until(lambda: len(rig.backend.hang_ups) == 1)


# --- no answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fault": 500}, "status 500"),
        ({"fault": 401}, "rejects the configured client_id and client_secret"),
        ({"fault": 307}, "status 307"),
        ({"body": b'{"active": true, "active": true}'}, "repeats a member name"),
        ({"body": b'{"active": NaN}'}, "is not JSON"),
        ({"body": b'{"active": true, "x": "' + b"x" * 70_000 + b'"}'}, "larger than"),
        ({"body": b'{"active": ' + b"[" * 30_000}, "is nested more than 64 levels deep"),
        ({"content_type": "text/html"}, "not application/json"),
        ({"drop": 2}, "connection failed"),
    ],
    ids=["500", "401", "redirect", "twice", "nan", "huge", "deep", "html", "dropped"],
)
async def test_without_an_answer_no_call_passes_and_no_client_is_sent_to_log_in(
    start: Start, endpoint: Introspection, change: dict[str, Any], said: str
):
    rig = await start()
    for name, value in change.items():
        setattr(endpoint, name, value)
    endpoint.headers = {"Location": endpoint.url}
    reply = await rig.call("list_taxonomy", token=endpoint.mint())
    assert (reply.status, reply.code) == (503, "issuer_unavailable")
    assert int(reply.headers["Retry-After"]) >= 1
    assert "WWW-Authenticate" not in reply.headers
    assert rig.backend.received == []
    line = (await rig.recorded())[0]
    assert line["level"] == "warning"
    assert said in line["notes"][0]


async def test_an_endpoint_that_wants_fewer_questions_is_passed_on(start: Start, endpoint: Introspection):
    rig = await start()
    endpoint.fault, endpoint.headers = 429, {"Retry-After": "17"}
    reply = await rig.call("list_taxonomy", token=endpoint.mint())
    assert (reply.status, reply.headers["Retry-After"]) == (503, "17")


async def test_nothing_that_is_left_behind_holds_a_token_or_the_secret(start: Start, endpoint: Introspection):
    rig = await start()
    good, bad = endpoint.mint(), "made-up-token"
    await rig.call("list_taxonomy", token=good)
    await rig.call("list_taxonomy", token=bad)
    endpoint.body = b'{"active": true, "canary": "canary"'
    await rig.call("list_taxonomy", token=endpoint.mint())
    await rig.sidecar.reload()
    await rig.recorded(3)
    left = rig.lines.read_text() + await rig.metrics() + json.dumps((await rig.ready())[1])
    for word in (*endpoint.asked, CLIENT_SECRET, CLIENT_SECRET.partition("+")[0], "Basic", "canary"):
        assert word not in left


# --- how it is -----------------------------------------------------------------------------------


async def test_an_issuer_without_keys_is_enough(start: Start, endpoint: Introspection):
    rig = await start()
    assert (await rig.ready())[1]["checks"]["keys"] == "ok"
    assert rig.issuer.requests == []
    await rig.call("list_taxonomy", token=endpoint.mint())
    await rig.call("list_taxonomy", token="made-up-token")
    assert await rig.metric('mcp_sidecar_introspection_up{issuer="main"}') == 1
    assert await rig.metric('mcp_sidecar_keys_up{issuer="main"}') is None  # no alert is due
    assert await rig.metric('mcp_sidecar_introspections_total{outcome="active"}') == 1
    assert await rig.metric('mcp_sidecar_introspections_total{outcome="inactive"}') == 1


async def test_wrong_credentials_are_known_before_anybody_calls(start: Start, endpoint: Introspection):
    rig = await start(client_secret="wrong", ready=False)
    await until(lambda: any(line["event"] == "not_ready" and line["what"] == "keys" for line in rig.log))
    status, body = await rig.ready()
    assert status == 503
    assert "main: introspection: the endpoint rejects the configured client_id" in body["checks"]["keys"]
    assert await rig.metric('mcp_sidecar_introspection_up{issuer="main"}') == 0
    config = json.loads(rig.config.read_text())
    config["issuers"][0]["introspection"]["client_secret"] = CLIENT_SECRET
    rig.config.write_text(json.dumps(config))
    assert await rig.sidecar.reload() is True
    await until_ready(rig)
    assert (await rig.call("list_taxonomy", token=endpoint.mint())).status == 200


async def test_a_reload_forgets_what_was_said_and_what_is_no_longer_configured(start: Start, endpoint: Introspection):
    rig = await start(keys=True)
    token = endpoint.mint()
    assert (await rig.call("list_taxonomy", token=token)).status == 200
    endpoint.revoke(token)
    assert (await rig.call("list_taxonomy", token=token)).status == 200
    assert await rig.sidecar.reload() is True
    assert (await rig.call("list_taxonomy", token=token)).status == 401
    config = json.loads(rig.config.read_text())
    del config["issuers"][0]["introspection"]
    rig.config.write_text(json.dumps(config))
    assert await rig.sidecar.reload() is True
    new = endpoint.mint()
    assert (await rig.call("list_taxonomy", token=new)).status == 401
    assert endpoint.questions(new) == 0
    assert await rig.metric('mcp_sidecar_introspection_up{issuer="main"}') is None
    await until_ready(rig)
    assert await rig.metric('mcp_sidecar_keys_up{issuer="main"}') == 1


async def test_a_client_that_leaves_does_not_take_the_answer_along(start: Start, endpoint: Introspection):
    rig = await start()
    token = endpoint.mint()
    endpoint.hold.clear()
    call = asyncio.create_task(rig.call("list_taxonomy", token=token))
    await until(lambda: endpoint.questions(token) == 1)
    call.cancel()
    await asyncio.wait([call])
    endpoint.hold.set()
    assert (await rig.call("list_taxonomy", token=token)).status == 200
    assert endpoint.questions(token) == 1
