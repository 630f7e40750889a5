"""Nothing stays held and nothing is spent twice, whatever is lost between this process and the store.

The scripts here are the smallest ledger with the shipped ones' promises: one balance, holds and
tombstones by call id. What is tested is delivery; the true scripts have their own tests.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import AdmissionCode, AdmissionReply, Application, Caller, Depth
from sidecar.outcome import Charge, Receipt
from sidecar.store.commands.command import Command, Script
from sidecar.store.connection import resp
from sidecar.store.connection.store_connection import StoreError, UnsentError
from sidecar.store.store import Store
from sidecar.terms import ConsentMode, PlanTerms, Terms
from tests.support.store import FaultProxy, StoreServer, not_let_in, until

_ADMIT = Script(
    "admit",
    """#!lua
if redis.call('EXISTS', KEYS[3]) == 1 then return 10 end
if redis.call('HSETNX', KEYS[2], ARGV[1], 1) == 1 then redis.call('DECR', KEYS[1]) end
return 0""",
)
_DRY_RUN = Script("look", "#!lua flags=no-writes\nreturn 0")
_SETTLE = Script(
    "settle",
    """#!lua
if redis.call('HDEL', KEYS[2], ARGV[1]) == 0 then return 1 end
redis.call('INCR', KEYS[4])
return 0""",
)
_RELEASE = Script(
    "release",
    """#!lua
if redis.call('HDEL', KEYS[2], ARGV[1]) == 1 then redis.call('INCR', KEYS[1])
else redis.call('SET', KEYS[3], 1) end
return 0""",
)
_HALF = Script(
    "half",
    """#!lua
redis.call('HSETNX', KEYS[2], ARGV[1], 1)
redis.call('DECR', KEYS[1])
error({err = 'OOM said from inside'})""",
)
_BROKEN = Script("broken", "#!lua\nreturn nothing.at.all")


class Toy:
    """A ledger of one account."""

    scripts: Sequence[Script] = (_ADMIT, _DRY_RUN, _SETTLE, _RELEASE, _HALF, _BROKEN)
    admitting = _ADMIT
    settling = _SETTLE
    unreadable = False

    def admit(self, application: Application) -> Command:
        return self._command(_DRY_RUN if application.dry_run else self.admitting, application)

    def admitted(self, application: Application, reply: Any) -> AdmissionReply:
        if self.unreadable:
            raise ValueError("not what was expected")
        return AdmissionReply(AdmissionCode(reply), held=reply == 0 and not application.dry_run)

    def settle(self, application: Application, charges: Sequence[Charge] | None) -> Command:
        return self._command(self.settling, application)

    def release(self, application: Application, *, forwarded: bool = False) -> Command:
        return self._command(_RELEASE, application)

    def defer(self, application: Application, context: bytes, events: Sequence[str] = ()) -> Command:
        raise AssertionError("nothing is deferred here")

    def receipt(self, reply: Any) -> Receipt:
        return Receipt(late=reply == 1)

    def _command(self, script: Script, application: Application) -> Command:
        id_ = application.call_id
        return Command(script, ("{a}balance", "{a}holds", f"{{a}}tomb:{id_}", "{a}spent"), (id_,))


def _application(call_id: str, dry_run: bool = False) -> Application:
    terms = Terms(ConsentMode.REQUIRED, None, None, PlanTerms(True))
    return Application(
        call_id, "owner", Caller("main", "https://i", "s", "a", "c", frozenset(), 0, 0), dry_run, Depth.PRICE, terms
    )


@pytest.fixture
async def store(fault_proxy: FaultProxy, own_server: StoreServer) -> AsyncIterator[Store]:
    with own_server.client() as client:
        client.set("{a}balance", 1000)
    store = Store(fault_proxy.url, Toy())
    await store.start()
    yield store
    await store.close(grace=0)


def _books(server: StoreServer) -> tuple[int, int, int]:
    """Balance, open holds, spent."""
    with server.client() as client:
        balance, spent = client.mget("{a}balance", "{a}spent")
        return int(balance or 0), int(client.hlen("{a}holds")), int(spent or 0)


async def _delivered(store: Store, within: float = 60.0) -> None:
    await asyncio.wait_for(store.outbox.drain(), within)


async def _refused(store: Store, call_id: str) -> float:
    """Admit, expecting `store_unavailable`; the seconds it took."""
    started = time.monotonic()
    with pytest.raises(Refusal) as caught:
        await store.admit(_application(call_id))
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert caught.value.retry_after
    return time.monotonic() - started


async def test_a_call_is_admitted_and_settled(store: Store, own_server: StoreServer):
    admission = await store.admit(_application("1"))
    assert admission == AdmissionReply(AdmissionCode.ADMITTED, held=True)
    assert _books(own_server) == (999, 1, 0)
    assert await store.outbox.settle(_application("1"), ()) == Receipt()
    assert _books(own_server) == (999, 0, 1)
    assert (await store.outbox.settle(_application("1"), ())).late


async def test_a_settle_is_written_without_being_awaited(store: Store, own_server: StoreServer):
    await store.admit(_application("1"))
    store.outbox.settle(_application("1"), ())
    assert (await store.admit(_application("2"))).held  # behind it on the same connection
    assert _books(own_server) == (998, 1, 1)


async def test_an_admission_cancelled_before_it_was_sent_asks_for_nothing(store: Store, own_server: StoreServer):
    task = asyncio.create_task(store.admit(_application("1")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.outbox.undelivered == 0
    assert _books(own_server) == (1000, 0, 0)


async def test_an_admission_cancelled_while_it_is_answered_leaves_nothing_held(
    store: Store, own_server: StoreServer, fault_proxy: FaultProxy
):
    fault_proxy.delay = 0.3
    task = asyncio.create_task(store.admit(_application("1")))
    await until(lambda: _books(own_server) == (999, 1, 0))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _delivered(store)
    assert _books(own_server) == (1000, 0, 0)


async def test_an_admission_cancelled_when_its_answer_is_there_leaves_nothing_held(
    own_server: StoreServer, monkeypatch: pytest.MonkeyPatch
):
    receive, asked = resp.RespTransport.data_received, list[asyncio.Task[Any]]()

    def receive_and_cancel(transport: resp.RespTransport, data: bytes) -> None:
        receive(transport, data)
        for task in asked:
            task.cancel()

    monkeypatch.setattr(
        resp.RespTransport, "data_received", receive_and_cancel
    )  # before the transport has looked it up
    with own_server.client() as client:
        client.set("{a}balance", 1000)
    store = Store(own_server.url, Toy())
    await store.start()
    asked.append(asyncio.create_task(store.admit(_application("1"))))
    with pytest.raises(asyncio.CancelledError):
        await asked[0]
    await _delivered(store)
    await store.close(grace=0)
    assert _books(own_server) == (1000, 0, 0)


async def test_an_admission_whose_reply_is_lost_is_released(
    store: Store, own_server: StoreServer, fault_proxy: FaultProxy
):
    fault_proxy.cut_on_reply = True
    await _refused(store, "1")
    await _delivered(store)
    assert _books(own_server) == (1000, 0, 0)


async def test_an_unreadable_answer_is_not_an_admission(store: Store, own_server: StoreServer):
    Toy.unreadable = True
    try:
        with pytest.raises(ValueError, match="expected"):
            await store.admit(_application("1"))
    finally:
        Toy.unreadable = False
    await _delivered(store)
    assert _books(own_server) == (1000, 0, 0)


async def test_a_settle_whose_reply_is_lost_is_charged_once(
    store: Store, own_server: StoreServer, fault_proxy: FaultProxy
):
    await store.admit(_application("1"))
    fault_proxy.cut_on_reply = True
    receipt = store.outbox.settle(_application("1"), ())
    assert (await asyncio.wait_for(receipt, 60)).late
    assert _books(own_server) == (999, 0, 1)


async def test_a_settle_is_retried_until_a_killed_store_returns(store: Store, own_server: StoreServer):
    for n in range(20):
        await store.admit(_application(str(n)))
    own_server.kill()
    receipts = [store.outbox.settle(_application(str(n)), ()) for n in range(20)]
    await asyncio.sleep(1)
    assert not any(receipt.done() for receipt in receipts)
    assert store.outbox.undelivered == 20
    own_server.start()
    assert not any(receipt.late for receipt in await asyncio.wait_for(asyncio.gather(*receipts), 60))
    assert _books(own_server) == (980, 0, 20)
    assert (store.outbox.undelivered, store.outbox.abandoned) == (0, 0)


async def test_a_stopped_store_refuses_within_two_seconds_and_nothing_stays_held(store: Store, own_server: StoreServer):
    await store.admit(_application("kept"))
    own_server.pause()
    until_ = time.monotonic() + 4
    number, slowest = 0, 0.0
    try:
        while time.monotonic() < until_:
            number += 1
            slowest = max(slowest, await _refused(store, str(number)))
        settle = store.outbox.settle(_application("kept"), ())
        assert not store.up
    finally:
        own_server.resume()
    assert slowest < 20  # far from 2 on a busy machine, but for ever is further
    await asyncio.wait_for(settle, 60)
    await _delivered(store)
    assert _books(own_server) == (999, 0, 1)


async def test_an_admission_that_arrives_after_its_release_refuses(store: Store, own_server: StoreServer):
    await store.outbox.release(_application("1"))
    assert (await store.admit(_application("1"))).code is AdmissionCode.RESOLVED_ALREADY
    assert _books(own_server) == (1000, 0, 0)


async def test_flushed_scripts_are_loaded_again_by_whatever_needs_them(store: Store, own_server: StoreServer):
    def flush() -> None:
        with own_server.client() as client:
            client.script_flush()

    flush()
    assert (await store.admit(_application("1"))).held
    flush()
    assert not (await asyncio.wait_for(store.outbox.settle(_application("1"), ()), 60)).late
    flush()
    assert await store.run(Toy()._command(_DRY_RUN, _application("2"))) == 0
    assert _books(own_server) == (999, 0, 1)


async def test_a_look_writes_nothing_even_when_its_answer_is_lost(
    store: Store, own_server: StoreServer, fault_proxy: FaultProxy
):
    fault_proxy.cut_on_reply = True
    with pytest.raises(Refusal):
        await store.admit(_application("1", dry_run=True))
    assert store.outbox.undelivered == 0
    with own_server.client() as client:
        assert sorted(client.keys("*")) == ["mcp:layout", "{a}balance"]


async def test_a_full_store_refuses_admissions_and_keeps_settles_for_later(store: Store, own_server: StoreServer):
    await store.admit(_application("1"))
    with own_server.client() as client:
        client.config_set("maxmemory", "1")
    await _refused(store, "2")
    assert store.outbox.undelivered == 0  # it never ran: there is nothing to release
    receipt = store.outbox.settle(_application("1"), ())
    await asyncio.sleep(0.5)
    assert not receipt.done()
    with own_server.client() as client:
        client.config_set("maxmemory", "0")
    assert not (await asyncio.wait_for(receipt, 60)).late
    assert _books(own_server) == (999, 0, 1)


async def test_an_admission_that_stopped_half_way_is_taken_back(
    store: Store, own_server: StoreServer, monkeypatch: pytest.MonkeyPatch
):
    """Its error has the code of one that is given before the first line; it is not the same."""
    monkeypatch.setattr(Toy, "admitting", _HALF)
    await _refused(store, "1")
    await _delivered(store)
    assert _books(own_server) == (1000, 0, 0)


async def test_a_settle_whose_script_fails_is_given_up_and_counted(
    store: Store, own_server: StoreServer, monkeypatch: pytest.MonkeyPatch
):
    await store.admit(_application("1"))
    monkeypatch.setattr(Toy, "settling", _BROKEN)
    with pytest.raises(StoreError):
        await store.outbox.settle(_application("1"), ())
    assert (store.outbox.undelivered, store.outbox.abandoned) == (0, 1)


async def test_a_store_that_may_evict_is_refused(own_server: StoreServer):
    with own_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "100mb")
    store = Store(own_server.url, Toy())
    await not_let_in(store, "noeviction")
    await store.close(grace=0)


async def test_closing_waits_for_what_is_owed_but_not_longer_than_its_grace(store: Store, own_server: StoreServer):
    await store.admit(_application("1"))
    own_server.kill()
    receipt = store.outbox.settle(_application("1"), ())
    async with asyncio.timeout(30):
        await store.close(grace=0.5)
    assert isinstance(receipt.exception(), UnsentError), "the caller must record the failure"


async def test_an_embedded_store_is_started_revived_and_stopped(tmp_path_factory: pytest.TempPathFactory):
    directory = Path(tmp_path_factory.mktemp("e", numbered=True)) / "s"
    store = Store("embedded", Toy(), directory=directory)
    await store.start()
    assert (await store.admit(_application("1"))).held
    assert store._embedded is not None
    assert store._embedded._child is not None
    pid = store._embedded._child.pid
    store._embedded._child.kill()
    await until(lambda: not store.up)
    assert not (await asyncio.wait_for(store.outbox.settle(_application("1"), ()), 60)).late
    assert store._embedded._child.pid != pid
    child = store._embedded._child
    await store.close()
    assert child.poll() is not None


@pytest.mark.parametrize("seed", range(3))
async def test_random_faults_never_lose_or_make_a_credit(
    store: Store, own_server: StoreServer, fault_proxy: FaultProxy, seed: int
):
    chance = random.Random(seed)
    held: list[str] = []
    spent: set[str] = set()

    async def call(number: int) -> None:
        call_id = str(number)
        task = asyncio.create_task(store.admit(_application(call_id)))
        if chance.random() < 0.2:
            asyncio.get_running_loop().call_later(chance.random() * 0.01, task.cancel)
        try:
            admission = await task
        except (Refusal, asyncio.CancelledError):
            return
        assert admission.held
        held.append(call_id)
        if chance.random() < 0.5:
            spent.add(call_id)
            store.outbox.settle(_application(call_id), ())
        else:
            store.outbox.release(_application(call_id))

    loop = asyncio.get_running_loop()
    faults: list[Callable[[], object]] = [
        lambda: loop.call_later(chance.random() * 0.01, fault_proxy.cut),
        lambda: setattr(fault_proxy, "cut_on_reply", True),
        lambda: setattr(fault_proxy, "delay", chance.random() * 0.02),
    ]
    number = 0
    while len(held) < 60:
        await until(lambda: store.up)  # faults that come faster than a busy machine connects would let nothing through
        chance.choice(faults)()
        await asyncio.gather(*(call(number + n) for n in range(20)))
        number += 20
    fault_proxy.delay = 0.0
    await _delivered(store, 20)
    assert _books(own_server) == (1000 - len(spent), 0, len(spent))
