"""A sidecar with a public resource accepts no token of a trial issuer, however its keys are configured."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest

from sidecar.config.documents.merging import parse
from sidecar.config.settings.settings import settings_of
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.authenticator import Authenticator
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.jwt.trial_mark import REFUSED
from sidecar.trial.issuer import TrialIssuer
from sidecar.trial.issuer_server import serving
from sidecar.trial.oauth import Signer
from tests.support.rig import rig

PUBLIC, LOCAL = "https://mcp.example.com/mcp", "http://127.0.0.1:8080/mcp"
KEYS = ("discovered", "jwks_uri", "file")


def settings(resource, issuer):
    behind = {"url": "http://127.0.0.1:8000/mcp"}
    return settings_of(parse("config.yaml", json.dumps({"resource": resource, "backend": behind, "issuers": [issuer]})))


async def configured(url, keys, folder):
    if keys == "jwks_uri":
        return {"issuer": url, "jwks_uri": f"{url}/jwks"}
    if keys == "file":
        async with httpx2.AsyncClient() as http:
            (folder / "jwks.json").write_text((await http.get(f"{url}/jwks")).text)
        return {"issuer": url, "jwks": {"file": str(folder / "jwks.json")}}
    return {"issuer": url}


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("resource", [PUBLIC, LOCAL])
async def test_keys_of_a_trial_issuer_verify_tokens_for_loopback_only(tmp_path, keys, resource):
    issuer = TrialIssuer(resources=(resource,), keys=[Signer("ES256")])
    async with serving(issuer) as url, IssuerRegistry() as registry:
        made = settings(resource, await configured(url, keys, tmp_path))
        authenticator = Authenticator(made.resource, made.issuers, registry)
        sent = [f"Bearer {issuer.mint()}"]
        if resource == LOCAL:
            assert (await authenticator.authenticate(sent)).subject == "ada"
            return
        with pytest.raises(Refusal) as refused:
            await authenticator.authenticate(sent)
        assert refused.value.code is ErrorCode.ISSUER_UNAVAILABLE
        assert (registry.unavailable_reason(made.issuers[0]) or "").endswith(REFUSED)


async def test_keys_cached_for_loopback_are_not_used_for_a_public_resource():
    issuer = TrialIssuer(resources=(LOCAL, PUBLIC), keys=[Signer("ES256")])
    async with serving(issuer) as url, IssuerRegistry() as registry:
        for resource, usable in ((LOCAL, True), (PUBLIC, False), (LOCAL, True)):  # as by reloads
            [configured] = settings(resource, {"issuer": url}).issuers
            assert await registry.of(configured).refresh() is usable


async def test_a_sidecar_with_a_public_resource_is_not_ready_and_says_why(tmp_path, store_server):
    issuer = TrialIssuer(resources=(PUBLIC,), keys=[Signer("ES256")])
    async with (
        serving(issuer) as url,
        rig(tmp_path, store_server, resource=PUBLIC, issuer={"issuer": url}, ready=False) as built,
    ):
        async with asyncio.timeout(60):
            while not (answer := await built.ready())[1]["checks"]["keys"].endswith(REFUSED):  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # the keys are not fetched yet
    assert answer[0] == 503
