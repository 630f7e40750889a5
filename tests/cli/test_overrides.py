"""An account's own limits: set, shown and dropped, and in force from the next call on."""

from pathlib import Path

import pytest

from sidecar.store.commands.keys import account_keys
from tests.cli.support import POLICY, Run, write
from tests.support.store import StoreServer


@pytest.fixture(autouse=True)
def here(config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(config.parent)
    return config.parent


def test_own_limits_are_set_shown_and_dropped(run: Run) -> None:
    words = ("--quota", "rows.month=7", "--quota", "requests.day=unlimited", "--quota", "requests.hour=9")
    assert run("account", "set", "alice", "--create", *words).out == "account alice (main): created\n"
    own = {"rows.month": 7, "requests.day": "unlimited", "requests.hour": 9}
    assert run("account", "show", "alice", "--format", "json").json["quotas"] == own
    assert run("account", "list", "--format", "json").json[0]["quotas"] == own
    assert "rows.month=7, requests.day=unlimited, requests.hour=9" in run("account", "list").out
    assert "quotas    rows.month=7, requests.day=unlimited, requests.hour=9" in run("account", "show", "alice").out
    usage = run("usage", "alice", "--format", "json").json
    assert usage["overrides"] == own
    assert {window: entry["limit"] for window, entry in usage["quotas"]["requests"].items()} == {
        "minute": 60,
        "hour": 9,
    }
    output = run("usage", "alice").out
    assert "rows per month: 0 of 7 used (the account's own limit), 7 left" in output
    assert "requests per minute: 0 of 60 used, 60 left" in output
    assert "requests per day: unlimited (the account's own limit)" in output
    assert run("account", "set", "alice", "--quota", "rows.month=plan", "--quota", "requests.day=plan").status == 0
    usage = run("usage", "alice", "--format", "json").json
    assert usage["overrides"] == {"requests.hour": 9}
    assert usage["quotas"]["rows"]["month"]["limit"] == 100
    assert usage["quotas"]["requests"]["day"]["limit"] == 5000


def test_quotas_and_windows_are_those_of_the_policy(run: Run, store_server: StoreServer) -> None:
    result = run("account", "set", "alice", "--create", "--quota", "row.month=7", "--quota", "request.day=1")
    assert (result.status, result.out) == (2, "")
    assert "there is no quota 'row': requests, rows" in result.err
    assert "there is no quota 'request': requests, rows" in result.err
    assert (
        "there is no window 'year': minute, hour, day, month"
        in run("account", "set", "alice", "--create", "--quota", "rows.year=7").err
    )
    assert (
        "rows.month: an amount must be an integer from 0 to 9007199254740991, or unlimited, or plan"
        in run("account", "set", "alice", "--create", "--quota", "rows.month=many").err
    )
    twice = run("account", "set", "alice", "--create", "--quota", "rows.month=7", "--quota", "rows.month=plan")
    assert (twice.status, twice.err) == (2, "mcp-sidecar: --quota rows.month is given more than once\n")
    with store_server.client() as client:
        assert not client.exists(account_keys("main", "alice").account)
    assert run("account", "set", "alice", "--quota", "rows.month=7").status == 1  # no such account


def test_a_limit_of_a_quota_that_left_the_policy_can_still_be_dropped(
    run: Run, here: Path, store_server: StoreServer
) -> None:
    assert run("account", "set", "alice", "--create", "--quota", "rows.month=7").status == 0
    write(
        here,
        store=store_server.url,
        policy=POLICY.replace(", rows: {month: 100}", "").replace(", rows: arguments.limit", ""),
    )
    assert run("account", "set", "alice", "--quota", "rows.month=8").status == 2
    assert run("account", "set", "alice", "--quota", "rows.month=plan").status == 0
    assert run("account", "show", "alice", "--format", "json").json["quotas"] == {}
    slip = run("account", "set", "alice", "--quota", "rows.month=plan")
    assert (slip.status, slip.err) == (2, "mcp-sidecar: there is no quota 'rows': requests\n")


def test_limits_written_by_hand_are_shown_as_they_hold(run: Run, store_server: StoreServer) -> None:
    with store_server.client() as client:
        client.hset(
            account_keys("main", "alice").account,
            mapping={
                "plan": "growth",
                "quota:rows:month": "9" * 5000,
                "quota:rows:fortnight": "5",
                "quota:requests:day": "-3",
            },
        )
    assert run("account", "show", "alice", "--format", "json").json["quotas"] == {"rows.month": 0, "requests.day": 0}
    assert set(run("usage", "alice", "--format", "json").json["quotas"]["rows"]) == {"month"}


def test_text_of_another_program_cannot_steer_a_terminal(run: Run, store_server: StoreServer) -> None:
    with store_server.client() as client:
        fields = {"plan": "growth", "quota:a\x1b[2J:month": "5", "quota:b\nc:day": "unlimited"}
        client.hset(account_keys("main", "alice").account, mapping=fields)
    for words in (("account", "list"), ("account", "show", "alice"), ("usage", "alice")):
        output = run(*words)
        assert output.status == 0
        assert "\x1b" not in output.out
        assert r"a\x1b[2J" in output.out
        assert r"b\nc" in output.out
