"""The memory budget: shares, the reserve for small leases, and that everything is given back exactly."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sidecar.config.settings.limits import BODY_SHARE, RESPONSE_SHARE
from sidecar.proxy.memory import (
    ANSWER_VALUE,
    COPIES,
    MOST,
    RESERVE,
    SHARE,
    SMALL,
    MemoryBudget,
    MemoryLease,
    decoded_size,
)

TOTAL = 64 << 20
QUARTER = TOTAL // SHARE
LARGE_QUARTER = QUARTER - QUARTER // RESERVE


def test_an_account_holds_at_most_a_quarter_and_large_leases_less():
    budget = MemoryBudget()
    first, second = budget.lease("a", TOTAL), budget.lease("a", TOTAL)
    assert first.keep(LARGE_QUARTER)
    assert not second.keep(SMALL + 1)
    assert second.keep(SMALL)
    assert budget.lease("b", TOTAL).keep(LARGE_QUARTER)


def test_small_leases_of_all_accounts_use_the_reserve_when_large_ones_are_refused():
    budget = MemoryBudget()
    large = [budget.lease(str(number), TOTAL) for number in range(4)]
    assert [lease.keep(LARGE_QUARTER) for lease in large] == [True] * 4
    assert not budget.lease("e", TOTAL).keep(SMALL + 1)
    small = 0
    while budget.lease(f"small-{small}", TOTAL).keep(SMALL):
        small += 1
    assert small * SMALL == TOTAL // RESERVE
    assert budget.used == TOTAL


def test_what_does_not_fit_changes_nothing():
    budget = MemoryBudget()
    lease = budget.lease("a", TOTAL)
    assert lease.grow(1000)
    assert not lease.grow(TOTAL)
    assert not lease.resize(TOTAL)
    assert not lease.decode(2 * TOTAL)
    assert (lease.held, lease.working, budget.used) == (1000, 0, 1000)


def test_an_answer_has_the_room_of_a_small_lease_beside_a_kept_message():
    budget = MemoryBudget()
    lease = budget.lease("a", TOTAL)
    assert lease.keep(LARGE_QUARTER)
    assert lease.grow(SMALL)
    assert (lease.kept, lease.held, budget.used) == (LARGE_QUARTER, SMALL, LARGE_QUARTER + SMALL)
    assert not lease.grow(1)  # no small lease any more
    assert lease.could_decode(1000)
    assert (budget.used, budget.peak) == (LARGE_QUARTER + SMALL, LARGE_QUARTER + SMALL + 1000)
    assert not lease.could_decode(TOTAL)
    lease.close()
    assert (budget.used, budget.accounts) == (0, 0)
    assert not lease.could_decode(0)


def test_an_answer_grows_only_while_there_is_room_to_decode_it():
    budget = MemoryBudget()
    leases = [budget.lease(str(number), TOTAL) for number in range(8)]
    size = 1 << 20
    while all(lease.grow(size) for lease in leases):
        pass
    for lease in leases:
        assert lease.decode(COPIES * lease.held)
        lease.close()
    assert budget.used == 0


def test_working_memory_counts_for_the_process_and_not_for_the_account():
    budget = MemoryBudget()
    lease = budget.lease("a", TOTAL)
    assert lease.decode(2 * QUARTER)
    assert budget.lease("a", TOTAL).keep(LARGE_QUARTER)
    assert not budget.lease("b", TOTAL).decode(2 * QUARTER)
    lease.decoded()
    assert budget.used == LARGE_QUARTER


def test_a_closed_lease_holds_nothing_and_takes_nothing():
    budget = MemoryBudget()
    lease = budget.lease("a", TOTAL)
    assert lease.keep(10)
    assert lease.decode(5)
    lease.close()
    lease.close()
    assert (budget.used, budget.accounts, budget.peak) == (0, 0, 15)
    assert not lease.grow(1)
    assert not lease.decode(1)
    assert lease.resize(0)
    assert budget.used == 0


@pytest.mark.parametrize("total", [1 << 20, 64 << 20, 512 << 20])
def test_the_largest_body_and_answer_that_the_config_allows_fit(total):
    budget = MemoryBudget()
    text = b'{"a":"%s"}'
    body = text % (b"x" * (total // BODY_SHARE - 8))
    lease = budget.lease("a", total)
    assert lease.grow(len(body))
    assert lease.keep(decoded_size(body))
    lease.close()
    answer = text % (b"x" * (total // RESPONSE_SHARE - 8))
    lease = budget.lease("a", total)
    assert lease.grow(len(answer))
    assert lease.decode(decoded_size(answer, ANSWER_VALUE) - len(answer))


class Leases(RuleBasedStateMachine):
    """Leases of three accounts, in any order, against a model that adds them up."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = MemoryBudget()
        self.total = 1 << 20
        self.open: list[tuple[str, MemoryLease]] = []
        self.expected: dict[int, tuple[int, int]] = {}  # kept, held
        self.working: dict[int, int] = {}

    @rule(account=st.sampled_from("abc"))
    def begin(self, account: str) -> None:
        lease = self.budget.lease(account, self.total)
        self.open.append((account, lease))
        self.expected[id(lease)], self.working[id(lease)] = (0, 0), 0

    @precondition(lambda self: self.open)
    @rule(data=st.data(), how=st.sampled_from(["grow", "resize", "keep"]), size=st.integers(0, 1 << 19))
    def change(self, data: st.DataObject, how: str, size: int) -> None:
        _, lease = data.draw(st.sampled_from(self.open))
        kept, held = self.expected[id(lease)]
        if getattr(lease, how)(size):
            self.expected[id(lease)] = {"grow": (kept, held + size), "resize": (kept, size), "keep": (size, 0)}[how]

    @precondition(lambda self: self.open)
    @rule(data=st.data(), size=st.integers(0, 1 << 20), done=st.booleans())
    def decode(self, data: st.DataObject, size: int, done: bool) -> None:
        _, lease = data.draw(st.sampled_from(self.open))
        if lease.could_decode(size):
            assert self.budget.peak >= self.budget.used + size
        self.working[id(lease)] = size if lease.decode(size) else 0
        if done:
            lease.decoded()
            self.working[id(lease)] = 0

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        each = data.draw(st.sampled_from(self.open))
        self.open.remove(each)
        each[1].close()

    @invariant()
    def adds_up(self) -> None:
        held: Counter[str] = Counter()
        for account, lease in self.open:
            assert (lease.kept, lease.held) == self.expected[id(lease)]
            assert lease.working == self.working[id(lease)]
            held[account] += lease.kept + lease.held
        working = sum(lease.working for _, lease in self.open)
        assert self.budget.used == held.total() + working <= self.total
        assert all(each <= self.total // SHARE for each in held.values())
        assert self.budget.accounts == len({account for account, _ in self.open})

    def teardown(self) -> None:
        for _, lease in self.open:
            lease.close()
        assert (self.budget.used, self.budget.accounts) == (0, 0)


TestLeases = Leases.TestCase


# --- what decoding takes ---------------------------------------------------------------------------


@given(st.binary(max_size=2000))
def test_an_estimate_is_never_less_than_the_text_nor_more_than_the_worst(data):
    assert len(data) <= decoded_size(data) <= MOST * len(data)


def test_an_estimate_grows_with_values_wide_letters_and_escapes():
    text = json.dumps({"a": "x" * 1000}).encode()
    assert decoded_size(text) < decoded_size(text.replace(b"x", b",", 10))
    assert decoded_size(text) < decoded_size(text.replace(b"xx", "é".encode(), 1))
    assert decoded_size(text.replace(b"xx", "é".encode(), 1)) < decoded_size(text.replace(b"xxxx", "😀".encode(), 1))
    assert decoded_size(text) < decoded_size(text.replace(b"xxxxxx", b"\\u00e9", 1))
