"""The Inspector's command line, which uses every announced capability."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.support import ALLOW_ALL, node_server
from tests.support.node import Ended, package, run_script
from tests.support.rig import Rig, rig
from tests.support.store import StoreServer

pytestmark = pytest.mark.node

INSPECTOR = ("@modelcontextprotocol/inspector", "clients", "launcher", "build", "index.js")
TOOLS_ONLY = {**ALLOW_ALL, "resources": {}, "prompts": {}, "methods": {}}


async def inspect(rig: Rig, folder: Path, *words: str) -> Ended:
    """Run the Inspector against the sidecar, with a home of its own."""
    target = (rig.url, "--transport", "http", "--header", f"Authorization: Bearer {rig.issuer.mint()}")
    home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return await run_script(package(*INSPECTOR), "--cli", *target, *words, env=home, cwd=folder)


@pytest.mark.parametrize("policy", [TOOLS_ONLY, ALLOW_ALL], ids=["tools only", "everything"])
async def test_the_inspector_lists_and_calls_tools_of_a_server_that_logs(
    tmp_path: Path, store_server: StoreServer, policy: dict[str, Any]
):
    async with node_server("v1.mjs") as url, rig(tmp_path, store_server, policy=policy, backend_url=url) as built:
        listed = await inspect(built, tmp_path, "--method", "tools/list")
        assert listed.status == 0, listed
        assert "echo" in listed.stdout
        called = await inspect(
            built, tmp_path, "--method", "tools/call", "--tool-name", "route", "--tool-arg", "region=north"
        )
        assert called.status == 0, called
        assert "to north" in called.stdout
        await built.lines_with(1, tool="route")
        refused = [line for line in built.calls if line["code"] == "method_not_allowed"]
    assert not refused


async def test_the_inspector_shows_why_a_call_without_a_person_is_refused(tmp_path: Path, store_server: StoreServer):
    policy = {**TOOLS_ONLY, "tools": {"route": {"scopes": [], "confirm": {"by": "person"}}}}
    words = ("--method", "tools/call", "--tool-name", "route", "--tool-arg", "region=north")
    async with node_server("v1.mjs") as url, rig(tmp_path, store_server, policy=policy, backend_url=url) as built:
        called = await inspect(built, tmp_path, *words)
        line = await built.line(tool="route")
    assert line["code"] == "confirmation_unavailable"
    assert called.status != 0
    assert "A person must confirm this call, and this client cannot ask one: it did not run." in called.stdout
