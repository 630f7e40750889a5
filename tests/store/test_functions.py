"""Calls as functions of the server: what they do without them, and that what they remember never decides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.model import AdmissionCode, AdmissionReply, Application
from sidecar.outcome import Charge
from sidecar.store.commands import changes, scripts, shipped
from sidecar.store.commands.command import Command, Script
from sidecar.store.store import Store
from tests.store.support import CALLER, KEYS, RealLedger, application, demand, reveal
from tests.support.store import StoreServer


def _ran(server: StoreServer) -> set[str]:
    """Return the commands that have run calls since the last question."""
    with server.client() as client:
        facts: dict[str, Any] = client.info("commandstats")
        client.config_resetstat()
    runs = {"fcall", "evalsha"}
    return {name for name in runs if facts.get(f"cmdstat_{name}", {}).get("calls", 0)}


@asynccontextmanager
async def _store(server: StoreServer) -> AsyncIterator[Store]:
    store = Store(server.url, scripts)
    await store.start()
    whose = (CALLER.issuer_id, CALLER.account)
    await store.run(changes.set_account(*whose, plan="free", create=True))
    await store.run(changes.grant(*whose, CALLER.subject, CALLER.client_id))
    await store.run(changes.change_credits(*whose, "grant", "contact", 100, operation="first"))
    _ran(server)
    yield store
    await store.close(grace=0)


async def _call(store: Store, call_id: str) -> int:
    """Admit and settle a call; return what it has cost."""
    asked = application(call_id, demand("contact", 3))
    assert (await store.admit(asked)).held
    return (await store.outbox.settle(asked, (Charge(amount=2),))).paid["contact"]


async def test_calls_are_functions(own_server: StoreServer):
    async with _store(own_server) as store:
        assert await _call(store, "c1") == 2
        assert _ran(own_server) == {"fcall"}


@pytest.mark.parametrize("missing", ["-fcall", "-function|load", "-function"])
async def test_without_the_permission_they_are_scripts(own_server: StoreServer, missing: str):
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "limited", "on", "nopass", "~*", "&*", "+@all", missing)
        own_server.url = f"unix://limited:any@{own_server.path}"
        async with _store(own_server) as store:
            assert await _call(store, "c1") == 2
            assert _ran(own_server) == {"evalsha"}
        assert client.execute_command("ACL", "LOG") == []


async def test_a_permission_that_is_taken_away_makes_them_scripts(own_server: StoreServer):
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "limited", "on", "nopass", "~*", "&*", "+@all")
        own_server.url = f"unix://limited:any@{own_server.path}"
        async with _store(own_server) as store:
            assert await _call(store, "c1") == 2
            asked = application("c2", demand("contact"))
            assert (await store.admit(asked)).held
            client.execute_command("ACL", "SETUSER", "limited", "-fcall")
            assert (await store.outbox.settle(asked, None)).paid == {"contact": 1}
            _ran(own_server)
            assert await _call(store, "c3") == 2
            assert _ran(own_server) == {"evalsha"}


async def test_a_server_whose_memory_is_full_still_settles(own_server: StoreServer):
    """Neither the connection nor a call that is open already needs a function that the server cannot keep."""
    async with _store(own_server) as store:
        asked = application("c1", demand("contact", 3))
        assert (await store.admit(asked)).held
        with own_server.client() as client:
            client.function_flush()
            client.config_set("maxmemory", 1)
        async with _second(own_server) as other:
            assert (await other.outbox.settle(asked, (Charge(amount=2),))).paid == {"contact": 2}
        assert (await store.outbox.settle(asked, (Charge(amount=2),))).paid == {"contact": 2}


@asynccontextmanager
async def _second(server: StoreServer) -> AsyncIterator[Store]:
    other = Store(server.url, scripts)
    await other.start()
    yield other
    await other.close(grace=0)


async def test_flushed_functions_cost_one_call_a_repetition(own_server: StoreServer):
    async with _store(own_server) as store:
        with own_server.client() as client:
            client.function_flush()
            client.script_flush()
        assert await _call(store, "c1") == 2
        _ran(own_server)
        assert await _call(store, "c2") == 2
        assert _ran(own_server) == {"fcall"}


def test_only_the_first_words_of_a_command_name_its_function():
    """An account may be called anything, also what a command looks like."""
    name = (b"*3\r\n" + shipped.ADMIT.head).decode()
    command = Command(shipped.ADMIT, (name,), (name,))
    as_script = shipped.ADMIT.without_function(command.packed)
    assert as_script.count(shipped.ADMIT.head) == 2
    assert as_script == Command(Script("admit", shipped.ADMIT.source), (name,), (name,)).packed
    assert shipped.RESOLVE.without_function(command.packed) == command.packed
    never = Command(shipped.GRANT, (name,)).packed
    assert shipped.GRANT.without_function(never) == never


_INCLUDED = 4  # credits of the plan


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    with RealLedger.of_account(store_server) as real:
        real.run(changes.change_credits("main", "acme", "grant", "contact", 100, operation="o"))
        yield real


def test_a_hold_that_was_changed_in_the_store_is_the_one_that_is_settled(ledger: RealLedger):
    asked = application("c1", demand("contact", 9))
    assert ledger.admit(asked).held
    hold = ledger.client.hget(KEYS.holds, "c1")
    ledger.client.hset(KEYS.holds, "c1", hold.replace('"reserved":"9"', '"reserved":"8"').replace('"5"', '"4"'))
    assert scripts.receipt(ledger.run(scripts.settle(asked, None))).paid == {"contact": 8}


def test_a_hold_that_is_gone_from_the_store_is_late(ledger: RealLedger):
    asked = application("c1", demand("contact", 9))
    assert ledger.admit(asked).held
    ledger.client.delete(KEYS.holds)
    assert scripts.receipt(ledger.run(scripts.settle(asked, None))).late


def test_what_they_remember_has_a_limit(own_server: StoreServer):
    """No call asks for the same as another, and no hold is settled."""
    with RealLedger.of_account(own_server) as real:
        sizes = []
        for number in range(4_000):
            items = [f"{number:09}-{each}" for each in range(40)]
            asked = application(f"c{number}", reveal(*items), dry_run=True)
            assert real.admit(asked).code is AdmissionCode.INSUFFICIENT_CREDITS
            assert real.admit(application(f"h{number}", demand("contact", 0))).held
            real.admit(application(f"d{number}", demand("rows", number), demand("contact", number), dry_run=True))
            if number % 1_000 == 999:
                sizes.append(int(real.client.info("memory")["used_memory_vm_functions"]))
        assert max(sizes) < 2 * sizes[0]


def test_long_holds_are_not_remembered(own_server: StoreServer):
    with RealLedger.of_account(own_server) as real:
        for number in range(400):
            items = (f"{number:09}-{each}" for each in range(2_000))
            assert real.admit(application(f"c{number}", reveal(*items, each=0))).held
        assert int(real.client.info("memory")["used_memory_vm_functions"]) < 16 * 2**20


def test_a_call_after_a_failed_one_holds_amounts_of_its_own_windows(ledger: RealLedger):
    """The first amount of the failed call is priced in the new window, the second one fails."""
    both = demand("requests"), demand("contact", 3)
    for number in range(4):  # the balance pays the same for the last two
        assert ledger.admit(application(f"c{number}", *both)).held
    ledger.set_clock(ledger.now + 60_000)
    ledger.client.hset(KEYS.ledger, "balance:contact", "x")
    with pytest.raises(redis.ResponseError, match="MALFORMED ledger balance:contact"):
        ledger.admit(application("c4", *both))
    ledger.client.hset(KEYS.ledger, "balance:contact", "100")
    for number in (5, 6):
        assert ledger.admit(application(f"c{number}", *both)).held
    numbers = {call: hold.amounts[0].windows["minute"] for call, hold in ledger.state().holds.items()}
    minute = ledger.now // 60_000
    assert numbers == {**{f"c{number}": minute - 1 for number in range(4)}, "c5": minute, "c6": minute}


def test_an_account_with_limits_of_its_own_is_priced_by_them(ledger: RealLedger):
    limit = ("requests", "minute")

    def asked(call_id: str, **change: Any) -> int | None:
        if change:
            ledger.run(changes.set_account("main", "acme", **change))
        return ledger.admit(application(call_id, demand("requests"))).prices[0].limit

    assert asked("c1") == 10
    assert asked("c2", quotas={limit: 7}) == 7
    assert asked("c3", quotas={limit: 8}) == 8
    assert asked("c4", drop=[limit]) == 10


@pytest.mark.parametrize("number", [999, 1_000, 1_009, 2**31, 10**12 + 7, 10**15 - 1, 10**15, 2**53 - 1])
def test_amounts_of_every_size_are_written_exactly(ledger: RealLedger, number: int):
    """Several times, because most are put together from halves of those before."""
    ledger.run(changes.change_credits("main", "acme", "set", "contact", number, operation="set"))
    for call in range(4):
        taken = number // 3 + call
        asked = application(f"c{call}", demand("contact", _INCLUDED + taken))
        assert ledger.admit(asked).held
        assert ledger.client.hget(KEYS.ledger, "balance:contact") == str(number - taken)
        ledger.run(scripts.release(asked))
        assert ledger.client.hget(KEYS.ledger, "balance:contact") == str(number)


_BROKEN = ("included:contact:month", "balance:contact", "quota:rows:month")  # fields that steps make unreadable
Step = tuple[str, int, int, int]


def _steps() -> st.SearchStrategy[list[Step]]:
    kinds = st.sampled_from(["admit", "look", "settle", "settle less", "release", "later", "limit", "break", "mend"])
    return st.lists(st.tuples(kinds, st.integers(0, 5), st.integers(0, 3), st.integers(1, 2_000)), max_size=40)


def _asked(call: int, shape: int) -> Application:
    demands = [
        (demand("requests", fixed=True), demand("rows", 5)),
        (demand("requests"), demand("contact", 3)),
        (reveal("a", "b", each=2),),
        (demand("contact"), demand("contact", 2)),
    ]
    return application(f"c{call}", *demands[shape])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps())
def test_functions_and_scripts_answer_the_same_and_leave_the_same(store_server: StoreServer, steps: list[Step]):
    found = []
    for as_scripts in (False, True):
        with RealLedger.of_account(store_server) as ledger:
            if as_scripts:
                ledger.use_scripts()
            ledger.run(changes.change_credits("main", "acme", "grant", "contact", 20, operation="o"))
            found.append(([_run(ledger, *step) for step in steps], _state(ledger)))
            ledger.client.flushall()
    assert found[0] == found[1]


def _run(ledger: RealLedger, kind: str, call: int, shape: int, seconds: int) -> AdmissionReply | Any:
    try:
        return _step(ledger, kind, call, shape, seconds)
    except redis.ResponseError as error:
        return str(error).partition(" is not ")[0]


def _step(ledger: RealLedger, kind: str, call: int, shape: int, seconds: int) -> AdmissionReply | Any:
    asked = _asked(call, shape)
    if kind == "later":
        ledger.set_clock(ledger.now + 1000 * seconds * seconds)
        return None
    if kind == "limit":
        window = ("requests", "minute")
        change = {"quotas": {window: seconds}} if shape < 2 else {"drop": [window]}
        return ledger.run(changes.set_account("main", "acme", **change))
    if kind in ("break", "mend"):
        field = _BROKEN[shape % 3]
        return (
            ledger.client.hset(KEYS.ledger, field, "x") if kind == "break" else ledger.client.hdel(KEYS.ledger, field)
        )
    if kind in ("admit", "look"):
        return ledger.admit(application(asked.call_id, *asked.demands, dry_run=kind == "look"))
    if kind == "release":
        return scripts.receipt(ledger.run(scripts.release(asked, forwarded=shape == 0)))
    less = tuple(Charge(amount=0) for _ in asked.demands) if kind == "settle less" else None
    return scripts.receipt(ledger.run(scripts.settle(asked, less)))


def _state(ledger: RealLedger) -> Any:
    for field in _BROKEN:
        if ledger.client.hget(KEYS.ledger, field) == "x":
            ledger.client.hdel(KEYS.ledger, field)
    journal = [fields for _, fields in ledger.client.xrange(KEYS.usage)]
    return ledger.state(), journal, ledger.client.hgetall(KEYS.ledger), ledger.client.hgetall(KEYS.holds)
