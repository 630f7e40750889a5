"""The store's scripts over what a caller chooses: items, their texts, request ids, and holds left behind.

Counted is the CPU of the server, as it says itself, and the commands that a script calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from sidecar.model import Application
from sidecar.outcome import Charge
from sidecar.policy.pricing import MAX_ITEM
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.command import Command
from tests.hostile.work import MOST
from tests.store.support import KEYS, RealLedger, application, demand, reveal
from tests.support.store import StoreServer

ROUNDS = 5
EXPIRED_AT_ONCE = 16


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    with RealLedger.of_account(store_server) as real:
        real.run(changes.change_credits("main", "acme", "grant", "contact", 10**9, operation="o"))
        yield real


def spent(ledger: RealLedger, command: Command) -> float:
    """Return the CPU seconds that the server takes for one run of a script, of several the least."""
    return min(_once(ledger, command) for _ in range(ROUNDS))


def _once(ledger: RealLedger, command: Command) -> float:
    before = ledger.client.info("cpu")
    ledger.run(command)
    after = ledger.client.info("cpu")
    taken: float = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
    return max(taken, 100e-6)


def looked(ledger: RealLedger, items: Sequence[str]) -> float:
    return spent(ledger, scripts.admit(application("look", reveal(*items), dry_run=True)))


def test_the_time_of_a_script_follows_the_number_of_items(ledger: RealLedger):
    short, long = (tuple(f"contact-{number}" for number in range(count)) for count in (500, 5000))
    assert looked(ledger, long) <= 2 * 10 * looked(ledger, short)


@pytest.mark.parametrize("part", ["%d+", "^(.-)$", "a", "a:", "\\", '"', "\x01", "\u0301\u0316", "{0}", "[%z"])
def test_the_text_of_an_item_does_not_change_the_cost(ledger: RealLedger, part: str):
    """Plain comparisons everywhere: no item is ever read as a pattern of Lua's."""
    hostile = [f"{number:04}" + part * ((MAX_ITEM - 8) // len(part)) for number in range(500)]
    benign = [f"{number:04}" + "xyz" * (len(text.encode()) // 3) for number, text in enumerate(hostile)]
    assert looked(ledger, hostile) <= MOST * looked(ledger, benign)


def test_settling_items_in_another_order_is_linear(ledger: RealLedger):
    items = tuple(f"contact-{number}" for number in range(5000))
    asked = application("c", reveal(*items))
    few = application("d", reveal(*items[:500]))

    def settled(held: Application, delivered: Sequence[str]) -> float:
        ledger.client.delete(KEYS.paid)
        assert ledger.admit(held).held
        return _once(ledger, scripts.settle(held, [Charge(items=tuple(delivered))]))

    assert settled(asked, items[::-1]) <= 2 * 10 * settled(few, items[:500])


def test_expired_holds_are_resolved_in_batches(ledger: RealLedger):
    """Else a client that leaves thousands behind makes the account's next script as slow as all of them."""
    for number in range(5 * EXPIRED_AT_ONCE):
        assert ledger.admit(application(f"left-{number}", reveal(f"item-{number}"))).held
    left = ledger.client.hlen(KEYS.holds)
    ledger.set_clock(ledger.now + 121_000)
    ledger.client.config_resetstat()
    ledger.admit(application("next", demand("contact")))
    calls = {name: facts["calls"] for name, facts in ledger.client.info("commandstats").items()}
    assert left - (ledger.client.hlen(KEYS.holds) - 1) == EXPIRED_AT_ONCE
    assert max(calls.values()) <= 10 * EXPIRED_AT_ONCE
