"""Refusals of the busiest account: exact while accounts are few, never too large, in bounded memory."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Caller
from sidecar.observe.metrics import Metrics
from sidecar.observe.scrape import busiest_account
from sidecar.observe.scrape.busiest_account import MAX_ACCOUNTS, BusiestAccount
from sidecar.outcome import Exchange


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.integers(0, 30)))
def test_few_accounts_are_counted_exactly(accounts: list[int]):
    busiest = BusiestAccount(Clock())
    for account in accounts:
        busiest.refused(("main", f"a{account}"))
    assert busiest.refusals == max(Counter(accounts).values(), default=0)


def test_among_many_accounts_the_count_is_a_little_too_small_and_memory_bounded():
    busiest, total = BusiestAccount(Clock()), 0
    for number in range(20 * MAX_ACCOUNTS):
        busiest.refused(("main", f"passing{number}"))
        total += 1
        if number % 10 == 0:
            busiest.refused(("main", "loop"))
            total += 1
        assert len(busiest._counts) <= MAX_ACCOUNTS
    assert 2 * MAX_ACCOUNTS - total / (MAX_ACCOUNTS + 1) <= busiest.refusals <= 2 * MAX_ACCOUNTS


def test_a_minute_is_reported_until_the_end_of_the_next():
    clock = Clock()
    busiest = BusiestAccount(clock)
    for _ in range(5):
        busiest.refused(("main", "ada"))
    clock.now += busiest_account.MINUTE + 1
    busiest.refused(("main", "ada"))
    assert busiest.refusals == 5
    clock.now += busiest_account.MINUTE
    assert busiest.refusals == 1
    clock.now += 5 * busiest_account.MINUTE
    assert busiest.refusals == 0


def test_only_refusals_of_callers_count_and_no_account_is_a_label():
    metrics = Metrics()
    caller = Caller("main", "https://issuer.test", "s", "CANARY-account", "c", frozenset(), 0, 0)
    refusal = Refusal(ErrorCode.TOOL_UNKNOWN)
    for made in (
        Exchange("1", 0.0, caller=caller),
        Exchange("2", 0.0, caller=caller, refusal=refusal, code=refusal.code.id),
        Exchange("3", 0.0, caller=caller, refusal=refusal, code=refusal.code.id),
        Exchange("4", 0.0, refusal=Refusal(ErrorCode.TOKEN_MISSING), code="token_missing"),
    ):
        metrics.count(made, "ok", 0.1)
    metrics.refresh()
    assert metrics.registry.get_sample_value("mcp_sidecar_account_refusals_max") == 2
    assert b"CANARY" not in b"".join(metrics.expose().parts)
