"""Tenants, clients without a user, and issuers that are not advertised, through the whole sidecar."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.store.commands import changes
from tests.proxy.support import Launch
from tests.support.rig import Rig
from tests.support.tenants import TenantServer


@pytest.fixture
async def server() -> AsyncIterator[TenantServer]:
    async with TenantServer("contoso", "fabrikam") as served:
        yield served


async def started(launch: Launch, server: TenantServer, **issuer: Any) -> Rig:
    rig = await launch(issuer={"issuer": server.template, **issuer})
    server.resource = rig.url
    return rig


async def admit(rig: Rig, account: str, client: str = "cli-1") -> None:
    await rig.account(account)
    await rig.run(changes.grant("main", account, account, client))


async def metadata(rig: Rig) -> Any:
    async with rig.http.get(rig.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")) as answer:
        return await answer.json()


async def test_a_listed_tenant_is_served_and_others_are_not(launch: Launch, server: TenantServer):
    rig = await started(launch, server, tenants=["contoso"])
    await admit(rig, "contoso/ada")
    assert (await rig.call("list_taxonomy", token=server.mint("contoso"))).status == 200
    assert rig.backend.last.header("x-mcp-account") == "contoso/ada"
    assert rig.backend.last.header("x-mcp-issuer") is not None
    reply = await rig.call("list_taxonomy", token=server.mint("fabrikam"))
    assert (reply.status, reply.code) == (401, "token_invalid")
    assert server.issuer("fabrikam") in reply.detail["detail"]
    assert (await metadata(rig))["authorization_servers"] == [server.issuer("contoso")]
    assert await rig.metric('mcp_sidecar_keys_up{issuer="main"}') == 1


async def test_the_same_person_of_two_tenants_has_two_accounts(launch: Launch, server: TenantServer):
    rig = await started(launch, server, tenants="any", advertise=False)
    await admit(rig, "contoso/ada")
    assert (await rig.call("list_taxonomy", token=server.mint("contoso"))).code is None
    assert (await rig.call("list_taxonomy", token=server.mint("fabrikam"))).code == "consent_missing"
    assert "authorization_servers" not in await metadata(rig)


async def test_a_client_without_a_user_has_an_account_of_its_own(launch: Launch):
    """The client `ada` and the person `ada` share neither account nor consent."""
    rig = await launch(issuer={"advertise": "https://as.example"})
    await rig.grant(client="ada")
    alone = rig.issuer.mint(subject="ada", client_id="ada")
    assert (await rig.call("list_taxonomy", token=alone)).code == "consent_missing"
    await admit(rig, "client:ada", "ada")
    assert (await rig.call("list_taxonomy", token=alone)).code is None
    assert rig.backend.last.header("x-mcp-account") == "client:ada"
    assert (
        await rig.call("list_taxonomy", token=rig.issuer.mint(header={"typ": "JWT"}, sub=None, client_id="ada"))
    ).code is None
    reply = await rig.call("list_taxonomy", token=rig.issuer.mint(subject="client:ada"))
    assert (reply.status, reply.code) == (401, "token_invalid")
    assert (await metadata(rig))["authorization_servers"] == ["https://as.example"]
