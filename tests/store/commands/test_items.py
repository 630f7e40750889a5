"""Lists of items on a real server: a long one costs a few commands, and the longest that may be configured fits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sidecar.config.settings.settings import Limits
from sidecar.model import AmountKind, Demand
from sidecar.outcome import Charge
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.command import Command
from tests.store.support import KEYS, RealLedger, application, reveal
from tests.support.store import StoreServer

LONGEST: int = next(each.le for each in Limits.model_fields["items"].metadata if hasattr(each, "le"))


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    with RealLedger.of_account(store_server) as real:
        real.run(changes.change_credits("main", "acme", "grant", "contact", 10**9, operation="o"))
        yield real


def _commands(ledger: RealLedger, command: Command) -> dict[str, int]:
    """Count the calls of each command in the script."""
    ledger.client.config_resetstat()
    ledger.run(command)
    stats = ledger.client.info("commandstats")
    return {name.removeprefix("cmdstat_"): facts["calls"] for name, facts in stats.items()}


@pytest.mark.parametrize(("count", "chunks"), [(1, 1), (500, 1), (1000, 1), (1001, 2), (LONGEST, 5)])
def test_a_list_costs_a_few_commands_however_long_it_is(ledger: RealLedger, count: int, chunks: int):
    items = tuple(f"contact-{number}" for number in range(count))
    asked = application("c", reveal(*items))
    admitting = _commands(ledger, scripts.admit(asked))
    assert admitting["smismember"] == chunks
    settling = _commands(ledger, scripts.settle(asked, [Charge(items=items)]))
    assert (settling["smismember"], settling["sadd"]) == (chunks, chunks)
    assert max(*admitting.values(), *settling.values()) <= 25
    assert ledger.client.scard(KEYS.paid) == count


def test_the_longest_lists_fit_several_to_a_call_and_in_many_expired_ones(ledger: RealLedger):
    """Items of 250 bytes: a document of megabytes."""
    long = "x" * 240
    calls = []
    for number in range(4):
        lists = [tuple(f"{long}-{number}-{kind}-{item}" for item in range(LONGEST)) for kind in range(2)]
        demands = (reveal(*lists[0]), Demand(AmountKind.QUOTA, "other", LONGEST, lists[1]))
        calls.append(application(f"c{number}", *demands))
        assert ledger.admit(calls[-1]).held
    receipt = scripts.receipt(ledger.run(scripts.settle(calls[0], None)))
    assert (receipt.paid, receipt.used) == ({"contact": LONGEST}, {"other": LONGEST})
    ledger.set_clock(ledger.now + calls[1].lease + 1)
    assert ledger.run(scripts.sweep(KEYS)) == 3
    assert ledger.client.hlen(KEYS.holds) == 0
