"""Clients without a token sign in at the authorization server of the challenge, and again for more scopes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from demo import backend
from sidecar.store.commands import changes
from sidecar.trial import issuer_server
from sidecar.trial.issuer import TrialIssuer
from sidecar.trial.oauth import ApprovedClient
from tests.clients.arrived import check_arrived
from tests.clients.driven import DRIVERS, Driven, code_of, driven, text_of
from tests.clients.driven_python import MODES, DrivenPython, driven_python
from tests.clients.servers.streamless import BackendWithoutStream
from tests.support.recorder import Recorder
from tests.support.rig import STORE_POLICY, Rig, rig
from tests.support.store import StoreServer

NODE = [pytest.param(kind, marks=pytest.mark.node) for kind in DRIVERS]
every_client = pytest.mark.parametrize("kind", [*NODE, *MODES])

BASE = ["usage:read", "stores:read"]
OFFLINE = {"offline_access"}
"""Scope that the second SDK also requests, if the authorization server offers it."""
REVEAL = {"contact_ids": ["c1"], "confirm_spend_credits": True}


async def _next_second() -> None:
    """Wait for the next second of the clock: tokens differ in their `iat`, which has whole seconds."""
    now = time.time()
    while (left := int(now) + 1 - time.time()) > 0:  # noqa: ASYNC110 - waits for the clock
        await asyncio.sleep(left)


@dataclass(slots=True)
class Deployment:
    """A sidecar, the authorization server that it trusts, the approvals, and a recorder of what reached the backend."""

    rig: Rig
    issuer: TrialIssuer
    arrived: Recorder
    approved: list[ApprovedClient]

    async def revoke(self) -> None:
        """Revoke the consent of the client that signed in last."""
        client = self.approved[-1].client_id
        await self.rig.run(changes.revoke("main", "ada", "ada", client))


@pytest.fixture
async def deployment(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Deployment]:
    issuer = TrialIssuer(scopes=("usage:read", "stores:read", "contacts:search", "contacts:reveal"))
    async with (
        backend.serving(BackendWithoutStream()) as url,
        Recorder(url) as arrived,
        issuer_server.serving(issuer) as issuer_url,
        rig(
            tmp_path,
            store_server,
            policy=yaml.safe_load(STORE_POLICY.read_text()) | {"base_scopes": BASE},
            backend_url=arrived.url,
            issuer={"issuer": issuer_url},
            shutdown_grace="100ms",
        ) as built,
    ):
        deployed = Deployment(built, issuer, arrived, [])

        async def grant_consent(approval: ApprovedClient) -> None:
            await _next_second()  # as a person who reads the consent screen: the new token has another `iat`
            deployed.approved.append(approval)
            await built.run(
                changes.grant("main", approval.subject, approval.subject, approval.client_id, list(approval.scopes))
            )

        issuer.resources, issuer.on_approval = (built.url,), grant_consent
        await built.account(credits=5)
        yield deployed
        assert b"eyJ" not in arrived.sent  # every JWT begins with it: no token was forwarded
        check_arrived(await arrived.requests(), client=deployed.approved[0].client_id)


@asynccontextmanager
async def client_without_token(kind: str, deployment: Deployment) -> AsyncIterator[Driven | DrivenPython]:
    """A client without a token: it signs in when it is challenged."""
    if kind in MODES:
        async with driven_python(kind, deployment.rig.url) as python:
            yield python
    else:
        async with driven(kind, deployment.rig.url) as client:
            yield client


@every_client
async def test_the_first_401_leads_to_a_login_for_the_base_scopes(deployment: Deployment, kind: str):
    async with client_without_token(kind, deployment) as client:
        await client.connect()
        assert "list_taxonomy" in await client.tools()
        assert not (await client.call("list_taxonomy")).get("isError")
        [asked] = await client.logins()
        assert asked - OFFLINE == set(BASE)
    assert len(deployment.approved) == 1
    refused = await deployment.rig.lines_with(1, http_status=401)
    assert {line["code"] for line in refused} == {"token_missing"}


@every_client
async def test_a_403_leads_to_a_login_for_more_scopes_and_the_call_is_forwarded_once(deployment: Deployment, kind: str):
    async with client_without_token(kind, deployment) as client:
        await client.connect()
        revealed = await client.call("reveal_contacts", REVEAL)
        assert [contact["id"] for contact in revealed["structuredContent"]["contacts"]] == ["c1"]
        first, second = await client.logins()
        assert first - OFFLINE == set(BASE)
        assert second - OFFLINE == {*BASE, "contacts:reveal"}
    assert (await deployment.rig.books()).included == {"contact": 1}
    calls = await deployment.rig.lines_with(2, tool="reveal_contacts")
    assert sorted((line["code"], line["http_status"]) for line in calls) == [("insufficient_scope", 403), ("ok", 200)]
    assert deployment.arrived.sent.count(b'"reveal_contacts"') == 1


@every_client
async def test_a_scope_that_no_login_adds_becomes_a_tool_error(deployment: Deployment, kind: str):
    deployment.issuer.approves = frozenset(BASE)
    async with client_without_token(kind, deployment) as client:
        await client.connect()
        lacking = await client.call("reveal_contacts", REVEAL)
        assert code_of(lacking) == "insufficient_scope"
        assert "contacts:reveal" in text_of(lacking)
        assert len(await client.logins()) == 2
        assert not (await client.call("list_taxonomy")).get("isError")  # the connection still works
    assert b'"reveal_contacts"' not in deployment.arrived.sent


@pytest.mark.parametrize("kind", [NODE[0]])  # this SDK requests no refresh token
async def test_a_revoked_client_signs_in_again_and_continues(deployment: Deployment, kind: str):
    async with client_without_token(kind, deployment) as client:
        await client.connect()
        await client.seen("GET")  # it opens the GET stream in parallel
        await deployment.revoke()
        assert not (await client.call("list_taxonomy")).get("isError")
        assert len(await client.logins()) == 2
    await deployment.rig.lines_with(1, http_status=401, code="consent_revoked")


@pytest.mark.parametrize("kind", NODE[1:])  # these refresh their tokens without a login
async def test_a_revoked_client_that_refreshes_its_token_gets_a_tool_error(deployment: Deployment, kind: str):
    async with client_without_token(kind, deployment) as client:
        await client.connect()
        if kind == "v2-legacy":
            await client.seen("GET")
        await deployment.revoke()
        await _next_second()
        revoked = await client.call("list_taxonomy")
        assert code_of(revoked) == "consent_revoked"
        assert "https://example.com/dashboard/settings/mcp" in text_of(revoked)
        assert len(await client.logins()) == 1
    assert deployment.arrived.sent.count(b'"list_taxonomy"') == 0
