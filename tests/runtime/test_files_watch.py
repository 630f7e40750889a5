"""Config and policy on disk, looked at every two seconds: would they load, and are they what is in force."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

from tests.proxy.support import policy
from tests.support.rig import Json, Rig
from tests.support.store import rest


def rewrite(rig: Rig, text: str) -> None:
    (rig.config.parent / "policy.yaml").write_text(text)


def good(rig: Rig, path: str = "a") -> None:
    rewrite(rig, json.dumps(policy(manage_url=f"https://example.com/{path}")))


def events(rig: Rig, name: str) -> list[Json]:
    return [line for line in rig.log if line["event"] == name]


async def gauges(rig: Rig) -> tuple[float | None, float | None]:
    """Gauges of valid files and of differing files."""
    return await rig.metric("mcp_sidecar_files_valid"), await rig.metric("mcp_sidecar_files_differ")


async def seen(rig: Rig, valid: float, differ: float) -> None:
    """Wait until the gauges say so."""
    async with asyncio.timeout(60):
        while await gauges(rig) != (valid, differ):
            await rest(0.05)  # files are looked at every two seconds


async def test_files_that_are_in_force_are_valid_and_do_not_differ(rig: Rig):
    assert await gauges(rig) == (1, 0)


async def test_a_policy_that_is_broken_on_disk_is_seen_without_a_reload(rig: Rig):
    rewrite(rig, "tools: [")
    await seen(rig, 0, 1)
    (line,) = events(rig, "files_invalid")
    assert (line["level"], "policy.yaml:1:" in line["problem"]) == ("error", True)
    assert await rig.metric("mcp_sidecar_last_reload_success") == 1, "no reload was requested"
    assert (await rig.call("list_taxonomy")).code is None
    good(rig)
    await seen(rig, 1, 1)
    assert events(rig, "files_valid")
    assert await rig.sidecar.reload()
    assert await gauges(rig) == (1, 0)


async def test_a_policy_whose_own_test_fails_is_invalid(rig: Rig):
    wrong = {"name": "wrong", "caller": {}, "call": {"tool": "get_usage"}, "expect": "allow"}
    rewrite(rig, json.dumps(policy(tests=[wrong])))
    await seen(rig, 0, 1)
    assert "'wrong'" in events(rig, "files_invalid")[0]["problem"]


async def test_a_good_change_differs_until_it_is_reloaded(rig: Rig):
    good(rig)
    await seen(rig, 1, 1)
    assert len(events(rig, "files_differ")) == 1
    assert await rig.sidecar.reload()
    assert await gauges(rig) == (1, 0)


async def test_a_change_that_is_taken_back_differs_no_more(rig: Rig):
    before = (rig.config.parent / "policy.yaml").read_text()
    good(rig)
    await seen(rig, 1, 1)
    rewrite(rig, before)
    await seen(rig, 1, 0)


async def test_a_config_that_a_reload_cannot_take_over_is_valid_and_differs(rig: Rig):
    config = json.loads(rig.config.read_text())
    rig.config.write_text(json.dumps({**config, "admin": "127.0.0.1:1"}))
    await seen(rig, 1, 1)
    assert await rig.sidecar.reload() is False
    assert await gauges(rig) == (1, 1)
    assert await rig.metric("mcp_sidecar_last_reload_success") == 0


async def test_a_file_that_the_config_substitutes_is_looked_at(rig: Rig):
    key = rig.config.parent / "key.txt"
    key.write_text("one")
    config = json.loads(rig.config.read_text())
    config["backend"]["headers"] = {"X-Api-Key": "${file:key.txt}"}
    rig.config.write_text(json.dumps(config))
    assert await rig.sidecar.reload()
    assert await gauges(rig) == (1, 0)
    key.write_text("another")
    await seen(rig, 1, 1)
    key.unlink()
    await seen(rig, 0, 1)
    key.write_text("one")
    await seen(rig, 1, 0)


async def test_a_file_that_is_touched_is_the_same(rig: Rig):
    rig.config.touch()
    rewrite(rig, "tools: [")
    await seen(rig, 0, 1)  # the touched file was judged with this one
    assert not events(rig, "files_differ")


async def test_a_folder_of_policies_is_looked_at_by_its_names(rig: Rig, tmp_path: Path):
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text(json.dumps(policy()))
    config = json.loads(rig.config.read_text())
    rig.config.write_text(json.dumps({**config, "policies": str(folder)}))
    assert await rig.sidecar.reload()
    (folder / "b.yaml").write_text("tools: [")
    await seen(rig, 0, 1)
    assert "b.yaml:1:" in events(rig, "files_invalid")[0]["problem"]
    (folder / "b.yaml").unlink()
    await seen(rig, 1, 0)
    shutil.rmtree(folder)
    await seen(rig, 0, 1)


async def test_a_policy_that_a_new_config_names_is_looked_at(rig: Rig, tmp_path: Path):
    other = tmp_path / "other.yaml"
    other.write_text("tools: [")
    config = json.loads(rig.config.read_text())
    rig.config.write_text(json.dumps({**config, "policies": [str(other)]}))
    await seen(rig, 0, 1)
    other.write_text(json.dumps(policy()))
    await seen(rig, 1, 1)


async def test_one_broken_version_is_logged_once(rig: Rig):
    rewrite(rig, "tools: [")
    await seen(rig, 0, 1)
    assert await rig.sidecar.reload() is False
    assert len(events(rig, "reload_failed")) == 1
    os.utime(rig.config.parent / "policy.yaml", (1, 1))  # another stamp, the same fault
    good(rig)
    await seen(rig, 1, 1)
    assert len(events(rig, "files_invalid")) == 1
