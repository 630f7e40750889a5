"""Slow sweep: corrupt or lost records of one account do not stop it for the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger.settlement import EXPIRY_BATCH
from sidecar.model import Application
from sidecar.observe.metrics import Metrics
from sidecar.runtime.sweeper import sweep, sweep_forever
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.command import Command
from sidecar.store.commands.keys import caller_keys
from sidecar.store.store import Store
from tests.store.support import CALLER, application, demand
from tests.support.store import StoreServer, until


@pytest.fixture
async def store(own_server: StoreServer) -> AsyncIterator[Store]:
    store = Store(own_server.url, scripts)
    await store.start()
    yield store
    await store.close(grace=0)


def errors(metrics: Metrics) -> float:
    return sum(
        sample.value
        for metric in metrics.store_errors.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    )


async def orphan(store: Store, account: str) -> Application:
    """A hold of an account of its own, whose lease has run out."""
    await store.run(changes.set_account("main", account, plan="growth", create=True))
    await store.run(changes.grant("main", account, CALLER.subject, CALLER.client_id))
    caller = replace(CALLER, account=account)
    asked = application(f"orphan of {account}", demand("contact", 3), caller=caller, lease=1)
    assert (await store.admit(asked)).held
    await asyncio.sleep(0.01)
    return asked


def bad_keys(server: StoreServer, broken: Application) -> None:
    """A key that is no UTF-8, and an account whose holds are no hash."""
    with server.client() as client:
        client.zadd(b"mcp:{\xff\xfe}:leases", {"x": 1})
        holds = caller_keys(broken.caller).holds
        client.delete(holds)
        client.set(holds, "not a hash")


async def test_a_bad_key_or_account_stops_the_sweep_for_no_other(store: Store, own_server: StoreServer):
    accounts = [await orphan(store, f"acme-{number}") for number in range(6)]
    accounts.sort(key=lambda each: caller_keys(each.caller).digest)
    bad_keys(own_server, accounts[0])  # the first that a sweep meets
    metrics = Metrics()
    assert await sweep(store, metrics) == 5
    assert errors(metrics) == 2
    with own_server.client() as client:
        left = [each for each in accounts if client.exists(caller_keys(each.caller).leases)]
    assert left == accounts[:1]


async def test_all_that_an_account_has_open_is_resolved_at_once(store: Store, own_server: StoreServer):
    """One script resolves a few; what is left would keep credits from their owner until the next sweep."""
    many, leases = 2 * EXPIRY_BATCH + 1, caller_keys(CALLER).leases
    await orphan(store, CALLER.account)
    for number in range(1, many):
        assert (await store.admit(application(f"orphan {number}", demand("unlimited")))).held
    with own_server.client() as client:
        client.zadd(leases, {f"orphan {number}": 1 for number in range(1, many)})
        assert await sweep(store, Metrics()) >= many - 1
        assert not client.exists(leases)


async def test_a_store_that_is_away_is_not_asked_for_every_account(store: Store, own_server: StoreServer):
    for number in range(3):
        await orphan(store, f"acme-{number}")
    metrics, run = Metrics(), store.run

    async def killed(command: Command) -> None:
        own_server.kill()
        await run(command)

    store.run = killed  # type: ignore[method-assign]
    with pytest.raises(Refusal):
        await sweep(store, metrics)
    assert errors(metrics) == 0


async def test_the_loop_survives_what_a_sweep_did_not_expect(store: Store, own_server: StoreServer):
    asked = await orphan(store, "acme")
    metrics, scan, failures = Metrics(), store.scan, [RuntimeError(), Refusal(ErrorCode.STORE_UNAVAILABLE)]

    async def scanned(pattern: str) -> list[bytes]:
        if failures:
            raise failures.pop()
        return await scan(pattern)

    store.scan = scanned  # type: ignore[method-assign]
    task = asyncio.create_task(sweep_forever(store, metrics, every=0.01))
    with own_server.client() as client:
        await until(lambda: not client.exists(caller_keys(asked.caller).leases))
    assert errors(metrics) == 2
    assert not task.done()
    task.cancel()
