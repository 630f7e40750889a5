"""Durability of a server from its INFO and CONFIG: refusals, warnings with the setting to change, or nothing."""

from __future__ import annotations

import pytest

from sidecar.store.health.durability import DurabilityRisk, Server, too_old, unsafe, warnings

KEEPS = {
    "redis_version": "7.2.4",
    "valkey_version": "9.0.0",
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
    "connected_slaves": "0",
    "cluster_enabled": "0",
}
SYNCED = {
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "save": "",
    "min-replicas-to-write": "0",
    "min-replicas-max-lag": "10",
}


def warned(
    info: dict[str, str] | None = None, config: dict[str, str] | None = None, **more: bool
) -> dict[DurabilityRisk, str]:
    """The warnings of a server that keeps everything but for this."""
    server = Server({**KEEPS, **(info or {})}, {**SYNCED, **(config or {})}, **more)
    return {each.risk: each.text for each in warnings(server)}


def without(*names: str) -> Server:
    return Server({name: value for name, value in KEEPS.items() if name not in names}, SYNCED)


def test_a_server_that_keeps_everything_is_not_warned_about():
    assert warned() == {}
    assert warned({"maxmemory": "1000000"}) == {}
    assert warned({"connected_slaves": "2", "min_slaves_good_slaves": "2"}) == {}


@pytest.mark.parametrize(
    ("info", "config", "risk", "words"),
    [
        (
            {"maxmemory": "1", "maxmemory_policy": "volatile-lru"},
            {},
            DurabilityRisk.EVICTION,
            ["volatile-lru", "applied twice"],
        ),
        (
            {"maxmemory_policy": "volatile-ttl"},
            {},
            DurabilityRisk.EVICTION,
            ["as soon as maxmemory is set", "noeviction"],
        ),
        (
            {"maxmemory_policy": "allkeys-lfu"},
            {},
            DurabilityRisk.EVICTION,
            ["as soon as maxmemory is set", "noeviction"],
        ),
        ({"aof_enabled": "0"}, {}, DurabilityRisk.NO_APPEND_ONLY, ["everything is gone", "appendonly yes"]),
        ({"aof_enabled": "0"}, {"save": "3600 1"}, DurabilityRisk.NO_APPEND_ONLY, ["since its last snapshot"]),
        ({}, {"appendfsync": "everysec"}, DurabilityRisk.LATE_FSYNC, ["the last second or two", "appendfsync always"]),
        ({}, {"appendfsync": "no"}, DurabilityRisk.LATE_FSYNC, ["half a minute", "appendfsync always"]),
        ({}, {"no-appendfsync-on-rewrite": "yes"}, DurabilityRisk.LATE_FSYNC, ["no-appendfsync-on-rewrite no"]),
        (
            {"connected_slaves": "1"},
            {},
            DurabilityRisk.PROMOTION,
            ["a replica may be promoted", "min-replicas-to-write 1"],
        ),
        ({"cluster_enabled": "1"}, {}, DurabilityRisk.PROMOTION, ["a replica may be promoted"]),
        (
            {"cluster_enabled": "1", "min_slaves_good_slaves": "0"},
            {"min-replicas-max-lag": "3"},
            DurabilityRisk.FAILOVER,
            ["in the last 3 s"],
        ),
    ],
)
def test_a_risk_is_reported_with_the_setting_to_change(info, config, risk, words):
    found = warned(info, config)
    assert list(found) == [risk]
    assert all(word in found[risk] for word in words), found[risk]
    assert len(found[risk]) <= 300  # the log cuts what is longer


def test_sentinel_is_a_failover_manager_without_any_replica_connected():
    assert list(warned(managed=True)) == [DurabilityRisk.PROMOTION]
    assert list(warned({"min_slaves_good_slaves": "1"}, managed=True)) == [DurabilityRisk.FAILOVER]


def test_several_risks_are_all_reported():
    found = warned({"maxmemory_policy": "allkeys-lru", "aof_enabled": "0", "connected_slaves": "1"})
    assert list(found) == [DurabilityRisk.EVICTION, DurabilityRisk.NO_APPEND_ONLY, DurabilityRisk.PROMOTION]


def test_hidden_parameters_are_reported():
    closed = warnings(Server(KEEPS))
    assert [each.risk for each in closed] == [DurabilityRisk.UNSEEN]
    assert "does not show appendfsync:" in closed[0].text
    assert [each.risk for each in warnings(Server({**KEEPS, "aof_enabled": "0"}))] == [DurabilityRisk.NO_APPEND_ONLY]
    hidden = warnings(without("maxmemory_policy", "aof_enabled", "connected_slaves"))
    assert "does not show maxmemory-policy, appendonly, min-replicas-to-write:" in hidden[0].text
    assert "does not show maxmemory-policy, appendonly, appendfsync, min-rep" in warnings(Server({}))[0].text
    assert len(warnings(Server({}))[0].text) <= 300


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random", "something-new"])
def test_a_store_that_may_evict_what_never_expires_is_refused(policy):
    said = unsafe({"maxmemory": "1048576", "maxmemory_policy": policy})
    assert said is not None
    assert policy in said
    assert "set maxmemory-policy noeviction" in said


@pytest.mark.parametrize(
    ("maxmemory", "policy"), [("0", "allkeys-lru"), ("1", "volatile-lru"), ("1", "noeviction"), ("0", "noeviction")]
)
def test_a_store_that_keeps_what_never_expires_is_not_refused(maxmemory, policy):
    assert unsafe({"maxmemory": maxmemory, "maxmemory_policy": policy}) is None


@pytest.mark.parametrize("version", ["2.8.24", "5.0.14", "6.2.19", "6.9"])
def test_a_server_without_the_scripts_language_is_refused(version):
    assert too_old({"redis_version": version}) == (
        f"the server is Redis {version}; the scripts need Redis 7.0 or later, or Valkey"
    )


@pytest.mark.parametrize(
    "info",
    [
        {"redis_version": "7.0.0"},
        {"redis_version": "8.2.1"},
        {"redis_version": "10.0.0"},
        {"redis_version": "255.255.255"},
        {"redis_version": "6.2.4", "valkey_version": "8.0.1"},
        {"redis_version": "unstable"},
        {},
    ],
)
def test_other_servers_are_left_to_show_it(info):
    assert too_old(info) is None
