"""Clients that come without a token sign in where the sidecar sends them, and again when they need more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.demo import backend, issuer_server
from sidecar.demo.issuer import Issuer
from sidecar.demo.oauth import Approval
from sidecar.ledger import changes
from tests.clients.arrived import check_arrived
from tests.clients.driven import DRIVERS, Driven, code_of, driven, text_of
from tests.clients.driven_python import MODES, DrivenPython, driven_python
from tests.support.recorder import Recorder
from tests.support.rig import Rig, rig
from tests.support.store import StoreServer

NODE = [pytest.param(kind, marks=pytest.mark.node) for kind in DRIVERS]
every_client = pytest.mark.parametrize("kind", [*NODE, *MODES])

BASE = {"usage:read", "stores:read"}
OFFLINE = {"offline_access"}
"""What the second SDK asks for beside, where it is to be had."""
REVEAL = {"contact_ids": ["c1"], "confirm_spend_credits": True}


class Quiet(backend.Backend):
    """Without a stream of its own, on which a client would sign in a second time beside its calls."""

    def app(self, host: str = "127.0.0.1") -> Starlette:
        app = super().app(host)
        app.add_middleware(_NoStream)
        return app


class _NoStream:
    """ASGI middleware: GET is not allowed, as it is in servers that have nothing to say."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = scope["type"] == "http" and scope["method"] == "GET"
        await (PlainTextResponse("", status_code=405) if refused else self._app)(scope, receive, send)


async def _next_second() -> None:
    """Wait for another second of the clock: what tells one token from the next, `iat`, has no smaller units."""
    now = time.time()
    while (left := int(now) + 1 - time.time()) > 0:  # noqa: ASYNC110 - it is the clock that is waited for
        await asyncio.sleep(left)


@dataclass(slots=True)
class House:
    """A sidecar, the authorization server that it trusts, and what reached the backend."""

    built: Rig
    issuer: Issuer
    arrived: Recorder
    approved: list[Approval]

    async def revoke(self) -> None:
        """Take back what the last client was allowed."""
        client = self.approved[-1].client_id
        await self.built.run(changes.revoke("main", "ada", "ada", client))


@pytest.fixture
async def house(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[House]:
    issuer = Issuer()
    async with (
        backend.serving(Quiet()) as url,
        Recorder(url) as arrived,
        issuer_server.serving(issuer) as issuer_url,
        rig(
            tmp_path, store_server, backend_url=arrived.url, issuer={"issuer": issuer_url}, shutdown_grace="100ms"
        ) as built,
    ):
        made = House(built, issuer, arrived, [])

        async def mirror(approval: Approval) -> None:
            await _next_second()  # a person has thought about it
            made.approved.append(approval)
            await built.run(
                changes.grant("main", approval.subject, approval.subject, approval.client_id, list(approval.scopes))
            )

        issuer.resources, issuer.on_approval = (built.url,), mirror
        await built.account(credits=5)
        yield made
        assert b"eyJ" not in arrived.sent  # which every JWT begins with
        check_arrived(await arrived.requests(), client=made.approved[0].client_id)


@asynccontextmanager
async def signing_in(kind: str, house: House) -> AsyncIterator[Driven | DrivenPython]:
    """A client that has no token yet, and signs in where it is told to."""
    if kind in MODES:
        async with driven_python(kind, house.built.url) as python:
            yield python
    else:
        async with driven(kind, house.built.url) as client:
            yield client


@every_client
async def test_the_first_401_leads_to_a_login_for_the_base_scopes(house: House, kind: str):
    async with signing_in(kind, house) as client:
        await client.connect()
        assert "list_taxonomy" in await client.tools()
        assert not (await client.call("list_taxonomy")).get("isError")
        [asked] = await client.logins()
        assert asked - OFFLINE == BASE
    assert len(house.approved) == 1
    refused = [line for line in house.built.calls if line["http_status"] == 401]
    assert {line["code"] for line in refused} == {"token_missing"}


@every_client
async def test_a_403_leads_to_a_login_for_more_and_the_call_is_made_once(house: House, kind: str):
    async with signing_in(kind, house) as client:
        await client.connect()
        revealed = await client.call("reveal_contacts", REVEAL)
        assert [contact["id"] for contact in revealed["structuredContent"]["contacts"]] == ["c1"]
        first, second = await client.logins()
        assert first - OFFLINE == BASE
        assert second - OFFLINE == {*BASE, "contacts:reveal"}
    assert (await house.built.books()).included == {"contact": 1}
    calls = [line for line in house.built.calls if line["tool"] == "reveal_contacts"]
    assert [(line["code"], line["http_status"]) for line in calls] == [("insufficient_scope", 403), ("ok", 200)]
    assert house.arrived.sent.count(b'"reveal_contacts"') == 1


@every_client
async def test_who_declines_more_is_told_in_words_instead_of_asked_for_ever(house: House, kind: str):
    house.issuer.approves = frozenset(BASE)
    async with signing_in(kind, house) as client:
        await client.connect()
        declined = await client.call("reveal_contacts", REVEAL)
        assert code_of(declined) == "insufficient_scope"
        assert "did not grant" in text_of(declined)
        assert len(await client.logins()) == 2
        assert not (await client.call("list_taxonomy")).get("isError")  # and the connection goes on
    assert b'"reveal_contacts"' not in house.arrived.sent


@pytest.mark.parametrize("kind", [NODE[0]])  # which asks for no refresh token
async def test_a_revoked_client_signs_in_again_and_goes_on(house: House, kind: str):
    async with signing_in(kind, house) as client:
        await client.connect()
        await client.seen("GET")  # it asks for the server's stream beside all else
        await house.revoke()
        assert not (await client.call("list_taxonomy")).get("isError")
        assert len(await client.logins()) == 2
    assert [line["code"] for line in house.built.calls if line["http_status"] == 401][-1] == "consent_revoked"


@pytest.mark.parametrize("kind", NODE[1:])  # which refresh their tokens without asking anybody
async def test_a_revoked_client_that_refreshes_its_token_is_told_in_words(house: House, kind: str):
    async with signing_in(kind, house) as client:
        await client.connect()
        if kind == "v2-legacy":
            await client.seen("GET")
        await house.revoke()
        await _next_second()
        revoked = await client.call("list_taxonomy")
        assert code_of(revoked) == "consent_revoked"
        assert "https://example.com/dashboard/settings/mcp" in text_of(revoked)
        assert len(await client.logins()) == 1
    assert house.arrived.sent.count(b'"list_taxonomy"') == 0
