"""Run each command of docs/runbook.md against a running sidecar, its log and the shipped alerts."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.proxy.support import POLICY
from tests.support.rig import Rig, rig
from tests.support.store import StoreServer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "runbook.md").read_text("utf-8")

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.S)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


async def output(folder: Path, command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-o", "pipefail", "-c", command), cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, command
    return said.decode()


async def test_every_command_of_the_page_runs(tmp_path: Path, store_server: StoreServer):
    for program in ("jq", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")
    async with rig(tmp_path, store_server, policy=POLICY) as running:
        await running.account()
        await running.grant()
        for _ in range(3):
            assert (await running.call("no_such_tool")).code == "tool_unknown"
        await running.recorded(3)
        shutil.copy(running.lines, tmp_path / "sidecar.log")
        shutil.copy(ROOT / "deploy" / "alerts.yaml", tmp_path)
        sed, ready, metrics, problems, issuer, busiest = commands()

        await output(tmp_path, sed)
        links = re.findall(r'runbook_url: "([^"]+)"', (tmp_path / "alerts.yaml").read_text())
        assert len(links) > 20
        assert all(link.startswith("https://wiki.example.com/mcp/runbook.md#mcpsidecar") for link in links)

        assert json.loads(await output(tmp_path, here(ready, running)))["ready"] is True
        assert "mcp_sidecar_store_up 1.0" in await output(tmp_path, here(metrics, running))
        await output(tmp_path, problems)
        found = issuer.replace("https://example.com/.well-known/oauth-authorization-server", running.issuer.jwks_uri)
        assert found != issuer
        assert "keys" in json.loads(await output(tmp_path, found))
        assert re.fullmatch(r" +3 ada\tcli-1\t\ttool_unknown\n", await output(tmp_path, busiest))


def here(command: str, running: Rig) -> str:
    assert "http://127.0.0.1:9090" in command
    return command.replace("http://127.0.0.1:9090", running.admin)


def test_what_an_alert_tells_to_run_exists():
    """Commands that summaries name are those of the runbook and the command line."""
    (group,) = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text("utf-8"))["groups"]
    named = {
        each for rule in group["rules"] for each in re.findall(r"run ([a-z]+ -[^.]+)\.", rule["annotations"]["summary"])
    }
    assert named == {"usage --verify --all-accounts", "check --live"}
