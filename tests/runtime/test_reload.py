"""Reloads: what they put in force, what they leave as it was, and what they say."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.settings.observation_settings import TracingSettings
from sidecar.runtime.reload import needs_restart
from tests.cli.conftest import run
from tests.cli.support import Run
from tests.proxy.support import POLICY, Launch, contacts, policy
from tests.support import backend as scripted
from tests.support.backend import Backend
from tests.support.rig import Json, Rig, second_sidecar, until_ready
from tests.support.store import until

__all__ = ["run"]

REVEAL = POLICY["tools"]["reveal_contacts"]


def rewrite(rig: Rig, text: Json | str) -> None:
    """Replace the policy in one step, as editors do."""
    path = rig.config.parent / "policy.yaml"
    new = path.with_suffix(".new")
    new.write_text(text if isinstance(text, str) else json.dumps(text))
    new.replace(path)


def reconfigure(rig: Rig, **changes: Any) -> None:
    config = json.loads(rig.config.read_text())
    for name, value in changes.items():
        config[name] = {**config[name], **value} if isinstance(config.get(name), dict) else value
    rig.config.write_text(json.dumps(config))


def events(rig: Rig, name: str) -> list[Json]:
    return [line for line in rig.log if line["event"] == name]


async def test_settings_of_the_log_apply_from_the_next_line_on(rig: Rig):
    await rig.recorded(0)
    reconfigure(rig, log={"format": "console", "sample": 0})
    assert await rig.sidecar.reload()
    assert (await rig.call("list_taxonomy")).status == 200
    assert (await rig.call("list_taxonomy", token=None)).status == 401
    await until(lambda: "token_missing" in rig.lines.read_text())
    lines = [line for line in rig.lines.read_text().splitlines() if not line.startswith("{")]
    assert " info    reloaded policy=" in lines[0]
    assert not [line for line in lines if "list_taxonomy" in line], "a free call without a problem"


# --- what it says --------------------------------------------------------------------------------


async def test_the_log_says_what_changed_and_both_revisions(rig: Rig):
    before = rig.sidecar.pipeline.snapshot.policy.revision
    tools = {"more": {"scopes": ["stores:read"]}, "list_taxonomy": {"scopes": ["usage:read"]}}
    rewrite(rig, policy(quotas={"requests": {"day": 2000}, "search_rows": {"month": 100}}, tools=tools))
    reconfigure(rig, limits={"items": 400}, backend={"headers": {"X-Api-Key": "sesame-canary"}})
    assert await rig.sidecar.reload()
    (line,) = events(rig, "reloaded")
    assert (line["before"], line["policy"]) == (before, rig.sidecar.pipeline.snapshot.policy.revision)
    assert line["cause"] == "signal"
    assert line["changes"] == [
        "config backend.headers changed",
        "config limits.items 500→400",
        "quota requests day 1000→2000",
        "tool list_taxonomy scopes -stores:read +usage:read",
        "+tool more",
    ]
    assert "canary" not in rig.lines.read_text()


# --- everything but five settings ----------------------------------------------------------------


async def test_a_reload_changes_the_backend_and_calls_in_flight_finish_on_the_old_one(rig: Rig):
    gate, old = asyncio.Event(), rig.sidecar.pipeline.snapshot.upstream
    rig.backend.once(scripted.after(gate, scripted.default()))
    async with Backend() as other, asyncio.TaskGroup() as tasks:
        call = tasks.create_task(rig.call("list_taxonomy"))
        await until(lambda: len(rig.backend.received) == 1)
        reconfigure(rig, backend={"url": other.url})
        assert await rig.sidecar.reload()
        assert (await rig.call("list_taxonomy")).code is None
        assert len(other.received) >= 1
        gate.set()
        assert (await call).code is None
        calls = [each for each in rig.backend.received if each.message.get("method") == "tools/call"]
        assert len(calls) == 1
        await until(lambda: (old.in_use, old.idle) == (0, 0))
        # A tool that depends on the backend's list is known of the new one.
        assert (await rig.call("get_shopify_store", {"sure": True})).code is None


async def test_a_new_backend_that_is_unreachable_is_reported_with_its_address(rig: Rig):
    reconfigure(rig, backend={"url": "http://127.0.0.1:1/mcp"})
    assert await rig.sidecar.reload()
    await until(lambda: bool(events(rig, "backend_unreachable")))
    assert events(rig, "backend_unreachable")[0]["problem"].startswith("127.0.0.1:1: ")
    assert (await rig.call("list_taxonomy")).code == "backend_unavailable"
    reconfigure(rig, backend={"url": rig.backend.url})
    assert await rig.sidecar.reload()
    assert (await rig.call("list_taxonomy")).code is None


async def test_a_sidecar_that_never_reached_its_backend_is_ready_with_another(launch: Launch):
    rig = await launch(backend_url="http://127.0.0.1:1/mcp", ready=False)
    await until(lambda: rig.sidecar._backend.problem not in (None, "127.0.0.1:1: not connected yet"))
    reconfigure(rig, backend={"url": rig.backend.url})
    assert await rig.sidecar.reload()
    await until_ready(rig)
    assert (await rig.call("list_taxonomy")).code is None


async def test_a_secret_in_a_file_is_read_again(rig: Rig):
    key = rig.config.parent / "key"
    key.write_text("one")
    reconfigure(rig, backend={"headers": {"X-Api-Key": "${file:key}"}})
    for secret in ("one", "two"):
        key.write_text(secret)
        assert await rig.sidecar.reload()
        await rig.call("list_taxonomy")
        assert rig.backend.received[-1].header("x-api-key") == secret


async def test_hosts_of_the_admin_listener_and_the_log_level_are_reloaded(rig: Rig):
    async def status() -> int:
        async with rig.http.get(f"{rig.admin}/healthz", headers={"Host": "metrics.example"}) as answer:
            return answer.status

    assert await status() == 403
    reconfigure(rig, admin_hosts=["metrics.example"], log={"level": "error"}, shutdown_grace="1s")
    assert await rig.sidecar.reload()
    assert await status() == 200
    lines = len(rig.log)
    assert (await rig.call("list_taxonomy")).code is None
    await until(lambda: rig.sidecar.pipeline.in_flight == 0)
    assert len(rig.log) == lines
    assert rig.sidecar._grace() == 1.0


async def test_some_settings_need_a_restart(rig: Rig):
    before = rig.sidecar.pipeline.snapshot.settings
    other = {
        "admin": (before.admin[0].__class__("127.0.0.1", 1),),
        "control": Path("other"),
        "tracing": TracingSettings(endpoint="http://127.0.0.1:4318"),
        "workers": 2,
        "listen": (before.listen[0].model_copy(update={"address": before.admin[0]}),),
        "store": before.store.model_copy(update={"url": "redis://other"}),
    }
    for name, value in other.items():
        assert needs_restart(before, before.model_copy(update={name: value})) == [name]
    free = before.model_copy(
        update={name: "changed" for name in type(before).model_fields if name not in (*other, "admin_api")}
    )
    assert needs_restart(before, free) == []


# --- under load ----------------------------------------------------------------------------------


async def test_bad_policies_pushed_under_load_fail_no_request(rig: Rig):
    """Every push is bad, half of them cut off in the middle of a write; every call is counted."""
    good = json.dumps(policy())
    bad = (good[: len(good) // 2], "tools: [", "", json.dumps(policy(tools={"x": {"scopes": ["none"]}})))
    revision, pushing, done = rig.sidecar.pipeline.snapshot.policy.revision, True, 0

    async def push() -> int:
        refused = 0
        for number in range(12):
            rewrite(rig, bad[number % len(bad)])
            refused += not await rig.sidecar.reload()
            await rig.sidecar._files.check()
        return refused

    async def call() -> int:
        count = 0
        while pushing or count < 10:
            reply = await rig.call("list_taxonomy", token=token)
            assert (reply.status, reply.code) == (200, None)
            count += 1
        return count

    token = rig.issuer.mint()
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(call()) for _ in range(8)]
        assert await push() == 12
        pushing = False
    done = sum(each.result() for each in calls)
    assert done >= 80
    lines = await rig.recorded(done)
    assert {(line["code"], line["revision"]) for line in lines} == {("ok", revision)}
    assert len(lines) == done
    assert await rig.metric("mcp_sidecar_reload_failures_total") == 12


# --- watched files -------------------------------------------------------------------------------


async def watched(launch: Launch) -> Rig:
    return await launch(reload="watch")


async def settled(rig: Rig) -> None:
    """Look at the files twice, as the watch does two seconds apart."""
    await rig.sidecar._files.check()
    await rig.sidecar._files.check()


async def test_a_swapped_configmap_is_reloaded_without_a_signal(launch: Launch, tmp_path: Path):
    """Kubernetes renames a link to the folder that all files are seen through."""
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        text = json.dumps(policy(manage_url=f"https://example.com/{number}"))
        (tmp_path / f"v{number}" / "policy.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    rig = await launch(policy=tmp_path / "policy.yaml", reload="watch")
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    await until(lambda: bool(events(rig, "reloaded")))
    (line,) = events(rig, "reloaded")
    assert line["cause"] == "watch"
    assert line["changes"] == ["manage_url https://example.com/1→https://example.com/2"]
    assert await rig.metric("mcp_sidecar_files_differ") == 0


async def test_a_watched_change_must_not_take_protections_away(launch: Launch):
    rig = await watched(launch)
    unconfirmed = {key: value for key, value in REVEAL.items() if key not in ("confirm", "spends")}
    weaker = policy()
    weaker["tools"]["reveal_contacts"] = unconfirmed
    rewrite(rig, weaker)
    await settled(rig)
    await settled(rig)
    problems = [line["problem"] for line in events(rig, "reload_failed")]
    assert [each.partition(" (")[0] for each in problems] == [
        "tool reveal_contacts loses its confirmation",
        "tool reveal_contacts loses its price in credit contact",
    ]
    assert all(each.endswith("apply it by SIGHUP or `mcp-sidecar reload` if this is intended") for each in problems)
    assert (await rig.call("reveal_contacts", contacts("a", confirmed=False))).code == "confirmation_required"
    assert await rig.sidecar.reload()
    assert (await rig.call("reveal_contacts", {"contact_ids": ["a"]})).code is None


async def test_a_watched_change_that_needs_a_restart_is_refused_once(launch: Launch):
    rig = await watched(launch)
    reconfigure(rig, admin="127.0.0.1:1")
    await settled(rig)
    await settled(rig)
    (line,) = events(rig, "reload_failed")
    assert line["problem"] == "changing admin needs a restart"


async def test_files_that_are_not_watched_wait_for_a_signal(rig: Rig):
    rewrite(rig, policy(manage_url="https://example.com/new"))
    await settled(rig)
    assert not events(rig, "reloaded")
    assert await rig.metric("mcp_sidecar_files_differ") == 1


async def test_reload_can_be_set_to_watch_by_a_reload(rig: Rig):
    reconfigure(rig, reload="watch")
    assert await rig.sidecar.reload()
    rewrite(rig, policy(manage_url="https://example.com/new"))
    await settled(rig)
    assert events(rig, "reloaded")[-1]["cause"] == "watch"


async def test_a_second_sidecar_on_the_same_socket_does_not_start(launch: Launch, tmp_path: Path):
    rig = await launch(control=str(tmp_path / "control.sock"))
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(OSError, match=r"control\.sock: another sidecar listens there"):
        async with second_sidecar(rig, other):
            pass
    assert (tmp_path / "control.sock").exists()


# --- by command ----------------------------------------------------------------------------------


async def test_the_command_waits_for_the_answer_and_prints_it(launch: Launch, tmp_path: Path, run: Run):
    async def command(*options: str) -> tuple[int, str, str]:
        result = await asyncio.to_thread(run, "reload", "--config", rig.config, *options)
        return result.status, result.out, result.err

    rig = await launch(control="run/control.sock")
    path = tmp_path / "run" / "control.sock"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    before = rig.sidecar.pipeline.snapshot.policy.revision
    rewrite(rig, policy(manage_url=None))
    status, out, err = await command()
    after = rig.sidecar.pipeline.snapshot.policy.revision
    assert (status, err) == (0, "")
    assert out == f"reloaded: revision {before} → {after}\n  manage_url removed\n"
    rewrite(rig, "tools: [")
    status, out, err = await command()
    assert (status, out) == (1, "refused: the sidecar serves by the files that it had\n")
    assert "policy.yaml:1:" in err
    status, out, err = await command("--format", "json")
    answer = json.loads(out)
    assert (status, answer["ok"], answer["revision"], err) == (1, False, after, "")
    assert "policy.yaml:1:" in answer["problems"][0]
    assert events(rig, "reloaded")[0]["cause"] == "command"
    rig.config.write_text("nonsense: [")
    assert (await command())[0] == 1
