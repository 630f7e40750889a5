"""A cluster of three primaries with 100,000 accounts: where they are, what they take, and that no hold is missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.model import Application
from sidecar.observe.metrics import Metrics
from sidecar.runtime.sweeper import sweep
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.command import Command
from sidecar.store.commands.keys import account_keys, caller_keys
from sidecar.store.connection.slots import SLOTS, slot_of
from sidecar.store.store import Store
from tests.faults.callers import command, reveal
from tests.store.support import CALLER, application, demand
from tests.support.loaded import load_scripts
from tests.support.processes import house, succeeded
from tests.support.topology import ClusterServers, TcpServer

pytestmark = [pytest.mark.process, pytest.mark.timeout(1200)]

ACCOUNTS = 100_000
CREDITS = 1000
MOST_BYTES = 8192
"""Bytes of one account with consent, plan, credits and their journal, in the memory of its primary."""
_BATCH = 2000
_ORPHANS = 150


def account(name: str) -> list[Command]:
    """Return what gives an account all that a priced call needs."""
    return [
        changes.set_account("main", name, plan="growth", create=True),
        changes.grant("main", name, name, "cli-1"),
        changes.change_credits("main", name, "set", "contact", CREDITS, operation=name),
    ]


def names_by_node(cluster: ClusterServers) -> dict[TcpServer, list[str]]:
    """The accounts of each primary, by the slots that it says it has."""
    owners: list[TcpServer | None] = [None] * SLOTS
    for first, last, primary, *_ in cluster.nodes[0].ask("CLUSTER", "SLOTS"):
        [owner] = [each for each in cluster.nodes if each.port == int(primary[1])]
        owners[int(first) : int(last) + 1] = [owner] * (int(last) - int(first) + 1)
    found: dict[TcpServer, list[str]] = {node: [] for node in cluster.nodes}
    for number in range(ACCOUNTS):
        name = f"user-{number}"
        node = owners[slot_of(account_keys("main", name).account)]
        assert node is not None
        found[node].append(name)
    return found


def fill(node: TcpServer, names: list[str]) -> float:
    """Make the accounts of a node; return the bytes of memory of one."""
    before = int(node.info("memory")["used_memory"])
    with node.client() as client:
        load_scripts(client)
        client.config_set("appendfsync", "no")  # only for now: an fsync of each batch takes most of the time
        for first in range(0, len(names), _BATCH):
            pipeline = client.pipeline(transaction=False)
            for name in names[first : first + _BATCH]:
                for each in account(name):
                    pipeline.execute_command(*each.words())
            pipeline.execute()
        client.config_set("appendfsync", "always")
    return (int(node.info("memory")["used_memory"]) - before) / len(names)


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[ClusterServers, dict[TcpServer, list[str]], list[float]]]:
    with ClusterServers() as cluster:
        names = names_by_node(cluster)
        yield cluster, names, [fill(node, its) for node, its in names.items()]


Filled = tuple[ClusterServers, dict[TcpServer, list[str]], list[float]]


def test_accounts_spread_evenly_over_slots_and_primaries(filled: Filled):
    """Each has a third, within six standard deviations; no slot is a hot spot by the number of its accounts."""
    _, names, _ = filled
    assert all(abs(len(its) - ACCOUNTS / 3) < 6 * (ACCOUNTS * 2 / 9) ** 0.5 for its in names.values())
    slots = Counter(slot_of(account_keys("main", name).account) for its in names.values() for name in its)
    assert len(slots) > 0.99 * SLOTS
    assert max(slots.values()) < 30  # the mean is 6.1


def test_an_account_takes_as_much_memory_as_on_one_server(filled: Filled):
    """Keys of an account are on its primary only: there are no others, and no copies."""
    cluster, names, sizes = filled
    assert all(1024 < each < MOST_BYTES for each in sizes), sizes
    for node, its in names.items():
        with node.client() as client:
            assert int(client.dbsize()) >= 3 * len(its)
    some = next(iter(names.values()))[0]
    prefix = f"mcp:{{{account_keys('main', some).digest}}}:*"
    holders = [node for node in cluster.nodes if list(node.client().scan_iter(match=prefix, count=10_000))]
    assert holders == [next(iter(names))]


async def test_a_sweep_finds_every_dead_hold_among_them(filled: Filled):
    cluster, names, _ = filled
    store = Store(cluster.url, scripts)
    await store.start()
    try:
        orphans = [await _orphan(store, name) for its in names.values() for name in its[:: len(its) // (_ORPHANS // 3)]]
        assert await sweep(store, Metrics()) == len(orphans) >= _ORPHANS
        assert await sweep(store, Metrics()) == 0
    finally:
        await store.close(grace=0)


async def _orphan(store: Store, name: str) -> Application:
    """A hold whose lease has run out."""
    caller = replace(CALLER, account=name, subject=name, client_id="cli-1")
    asked = application(f"orphan of {name}", demand("contact", 3), caller=caller, lease=1)
    assert (await store.admit(asked)).held
    assert caller_keys(caller).digest == account_keys("main", name).digest
    return asked


async def test_accounts_of_every_primary_are_served_and_verified(filled: Filled, tmp_path: Path):
    cluster, names, _ = filled
    async with house(tmp_path, cluster.url) as built:
        sidecar = await built.start()
        for its in names.values():
            assert succeeded(await reveal(built, sidecar, its[1], "a", "b"))
            status, said = await command(built, "usage", its[1], "--verify")
            assert status == 0, said
