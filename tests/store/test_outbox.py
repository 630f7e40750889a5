"""The store with the shipped scripts: what is lost on the way, and an owner that is killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from sidecar.errors import Refusal
from sidecar.ledger.accounts import AccountState
from sidecar.model import AdmissionCode, Application
from sidecar.outcome import Charge
from sidecar.store.commands import changes, scripts
from sidecar.store.store import Store
from tests.store.support import CALLER, KEYS, application, demand
from tests.support.store import FaultProxy, StoreServer, until

_OWNER = """
import asyncio, sys
from sidecar.store.commands import scripts
from sidecar.store.store import Store
from tests.store.support import application, demand

async def main():
    store = Store(sys.argv[1], scripts)
    await store.start()
    assert (await store.admit(application("orphan", demand("contact", 3), lease=700))).held
    print("held", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
async def store(fault_proxy: FaultProxy) -> AsyncIterator[Store]:
    store = Store(fault_proxy.url, scripts)
    await store.start()
    whose = (CALLER.issuer_id, CALLER.account)
    await store.run(changes.set_account(*whose, plan="free", create=True))
    await store.run(changes.grant(*whose, CALLER.subject, CALLER.client_id))
    await store.run(changes.change_credits(*whose, "grant", "contact", 10, operation="first"))
    yield store
    await store.close(grace=0)


def _call(call_id: str) -> Application:
    return application(call_id, demand("contact", 3))


async def _account(store: Store) -> AccountState:
    return changes.inspected(await store.run(changes.inspect(KEYS))).state


async def _contacts(store: Store) -> tuple[int, int]:
    """Credits left and credits held; both add up to what the journal says."""
    state = await _account(store)
    assert state.imbalance() == {}
    return state.balances["contact"], state.held("contact")


async def test_admit_and_settle(store: Store):
    admission = await store.admit(_call("1"))
    assert admission.code is AdmissionCode.ADMITTED
    assert await _contacts(store) == (7, 3)
    assert (await store.outbox.settle(_call("1"), (Charge(amount=1),))).paid == {"contact": 1}
    assert await _contacts(store) == (9, 0)


async def test_a_lost_admission_is_released(store: Store, fault_proxy: FaultProxy):
    fault_proxy.cut_on_reply = True
    with pytest.raises(Refusal):
        await store.admit(_call("1"))
    await until(lambda: not store.outbox.undelivered)
    assert await _contacts(store) == (10, 0)


async def test_a_cancelled_admission_is_released(store: Store, own_server: StoreServer, fault_proxy: FaultProxy):
    fault_proxy.delay = 0.2
    task = asyncio.create_task(store.admit(_call("1")))
    with own_server.client() as client:
        await until(lambda: client.hlen(KEYS.holds) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not store.outbox.undelivered)
    assert await _contacts(store) == (10, 0)


async def test_a_repeated_settle_gets_the_first_receipt(store: Store, fault_proxy: FaultProxy):
    await store.admit(_call("1"))
    fault_proxy.cut_on_reply = True
    receipt = await asyncio.wait_for(store.outbox.settle(_call("1"), (Charge(amount=2),)), 60)
    assert receipt.paid == {"contact": 2}
    assert not receipt.late
    assert await _contacts(store) == (8, 0)


async def test_a_stopped_store_holds_nothing_for_the_refused(store: Store, own_server: StoreServer):
    own_server.pause()
    try:
        asked = [asyncio.create_task(store.admit(_call(str(n)))) for n in range(3)]
        done, pending = await asyncio.wait(asked, timeout=30)
        assert not pending
        assert all(isinstance(task.exception(), Refusal) for task in done)
    finally:
        own_server.resume()
    await until(lambda: not store.outbox.undelivered)
    assert await _contacts(store) == (10, 0)


async def test_settles_reach_a_killed_store_when_it_returns(store: Store, own_server: StoreServer):
    await store.admit(_call("1"))
    own_server.kill()
    receipt = store.outbox.settle(_call("1"), None)
    await asyncio.sleep(0.5)
    assert not receipt.done()
    own_server.start()
    assert (await asyncio.wait_for(receipt, 60)).paid == {"contact": 3}
    assert await _contacts(store) == (7, 0)


async def test_a_hold_of_a_killed_owner_is_released_when_its_lease_expires(store: Store, own_server: StoreServer):
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OWNER, own_server.url, stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    assert await owner.stdout.readline() == b"held\n"
    owner.kill()
    await owner.wait()
    with own_server.client() as client:
        assert client.hkeys(KEYS.holds) == ["orphan"]
    await asyncio.sleep(0.8)
    assert await store.run(scripts.sweep(KEYS)) == 1
    assert await _contacts(store) == (10, 0)
    assert (await store.outbox.settle(application("orphan", demand("contact", 3)), None)).late
    assert await _contacts(store) == (10, 0)
