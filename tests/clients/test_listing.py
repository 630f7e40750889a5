"""The sidecar's own list of tools, from servers made with the official SDKs, of both eras."""

from __future__ import annotations

import json

import pytest

from sidecar.config.documents.merging import parse
from sidecar.mcp_client.lister import Lister
from sidecar.mcp_client.survey import survey
from sidecar.policy.language.compile import compile_policy
from sidecar.proxy.backend.pool import BackendPool
from sidecar.workbench.live.live_check import compare
from sidecar.workbench.scaffolding.policy_scaffold import policy_scaffold
from tests.clients.support import ALLOW_ALL, SERVERS, ServerKind
from tests.support.rig import Json
from tests.support.rig import rig as start_rig

KINDS = [
    pytest.param(kind, id=kind.name, marks=[pytest.mark.node] if kind.script is not None else []) for kind in SERVERS
]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_tools_of_an_official_server_are_listed(kind: ServerKind):
    async with kind.serve() as url:
        upstream = BackendPool(url)
        try:
            first, second = [await (lister := Lister(upstream)).list_tools(), await lister.list_tools()]
        finally:
            upstream.close()
    assert {"echo", "fail"} <= {each["name"] for each in first}
    assert first == second


@pytest.mark.parametrize("kind", KINDS)
async def test_the_scaffold_of_an_official_server_is_a_policy_that_fits_it(kind: ServerKind):
    async with kind.serve() as url:
        inventory, again = await survey(url), await survey(url)
    made = policy_scaffold(inventory)
    policy = compile_policy((parse("p.yaml", made.text),))
    assert {"echo", "fail"} <= policy.tools.keys()
    assert {each["name"] for each in inventory.prompts} == policy.prompts.keys()
    assert [each for each in compare(policy, again) if each.fails] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_collision_with_an_official_servers_schema_is_found_and_cured(kind: ServerKind, tmp_path, store_server):
    def written(argument: str) -> Json:
        confirm = {"argument": argument, "inject": True}
        return {**ALLOW_ALL, "tools": {**ALLOW_ALL["tools"], "echo": {"scopes": [], "confirm": confirm}}}

    async with kind.serve() as url, start_rig(tmp_path, store_server, backend_url=url, policy=written("value")) as rig:
        before = rig.sidecar.pipeline.snapshot.tools
        assert before.collisions == ("echo",)
        (tmp_path / "policy.yaml").write_text(json.dumps(written("sure")))
        assert await rig.sidecar.reload()
        after = rig.sidecar.pipeline.snapshot.tools
        assert (after.collisions, after.unseen) == ((), ())
