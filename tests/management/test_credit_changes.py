"""Credits: an idempotency key changes a balance once, however often and by however many it is used."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.config.settings.settings import StoreSettings
from sidecar.management.account_records import AccountChange, set_account
from sidecar.management.credit_changes import KEY_LIFE, CreditOrder, CreditResult, CreditVerb, change_credits
from sidecar.management.failures import FailureCode, ManagementError
from sidecar.management.operator_store import OperatorStore
from sidecar.policy.rules import Policy
from tests.management.support import ACME, entries, policy_of
from tests.support.store import StoreServer

GRANT, SPEND, SET = CreditVerb.GRANT, CreditVerb.SPEND, CreditVerb.SET
ORDERS = st.builds(
    CreditOrder,
    st.sampled_from([GRANT, SPEND, SPEND, SET]),
    st.sampled_from(["contact", "email"]),
    st.integers(0, 9),
    key=st.sampled_from(["a", "b", "c", "d", None]),
)


async def test_the_same_key_has_one_effect_and_one_answer(
    store: OperatorStore, store_server: StoreServer, tmp_path: Path
):
    policy = policy_of(tmp_path)
    order = CreditOrder(GRANT, "contact", 5, key="order-1", create=True)
    first = await change_credits(store, ACME, order, policy=policy, by="admin:shop")
    assert first == CreditResult(balance=5, included=0, created=True)
    assert await change_credits(store, ACME, order, policy=policy, by="admin:shop") == first
    with store_server.client() as client:
        left = client.pttl(ACME.keys.done("admin:shop:order-1"))
    assert KEY_LIFE - 600_000 < left <= KEY_LIFE
    (entry,) = await entries(store)
    assert (entry["event"], entry["call"], entry["by"]) == ("grant", "admin:shop:order-1", "admin:shop")


@pytest.mark.parametrize(
    "other",
    [CreditOrder(SPEND, "contact", 5, "k"), CreditOrder(GRANT, "email", 5, "k"), CreditOrder(GRANT, "contact", 4, "k")],
)
async def test_a_key_of_another_change_is_refused_and_changes_nothing(
    store: OperatorStore, tmp_path: Path, other: CreditOrder
):
    policy = policy_of(tmp_path)
    await change_credits(store, ACME, CreditOrder(GRANT, "contact", 5, "k", create=True), policy=policy, by="command")
    with pytest.raises(ManagementError, match="was used for another change") as failed:
        await change_credits(store, ACME, other, policy=policy, by="command")
    assert failed.value.code is FailureCode.KEY_REUSED
    assert len(await entries(store)) == 1


async def test_keys_belong_to_their_author(store: OperatorStore, tmp_path: Path):
    policy = policy_of(tmp_path)
    for author, balance in (("admin:shop", 5), ("admin:desk", 10), ("admin:shop", 5)):
        order = CreditOrder(GRANT, "contact", 5, "order-1", create=True)
        assert (await change_credits(store, ACME, order, policy=policy, by=author)).balance == balance


async def test_a_spend_that_was_too_large_may_be_repeated_with_its_key(store: OperatorStore, tmp_path: Path):
    policy = policy_of(tmp_path)
    await set_account(store, ACME, AccountChange(plan="free", create=True), policy=policy, by="command")
    spend = CreditOrder(SPEND, "contact", 5, "k")
    with pytest.raises(ManagementError, match="too few contact credits: the balance is 0") as failed:
        await change_credits(store, ACME, spend, policy=policy, by="command")
    assert failed.value.code is FailureCode.TOO_LITTLE
    await change_credits(store, ACME, CreditOrder(GRANT, "contact", 7), policy=policy, by="command")
    for _ in range(2):
        assert (await change_credits(store, ACME, spend, policy=policy, by="command")).balance == 2


@pytest.mark.parametrize("key", ["", "é", "a\n", "x" * 256])
async def test_keys_that_are_no_keys_are_refused(store: OperatorStore, tmp_path: Path, key: str):
    order, policy = CreditOrder(GRANT, "contact", 1, key, create=True), policy_of(tmp_path)
    with pytest.raises(ManagementError, match="printable ASCII") as failed:
        await change_credits(store, ACME, order, policy=policy, by="command")
    assert failed.value.code is FailureCode.INVALID


async def test_an_unknown_account_or_pool_is_refused(store: OperatorStore, tmp_path: Path):
    policy = policy_of(tmp_path)
    for order, code in (
        (CreditOrder(GRANT, "contact", 1), FailureCode.ACCOUNT_UNKNOWN),
        (CreditOrder(GRANT, "gold", 1), FailureCode.NAME_UNKNOWN),
    ):
        with pytest.raises(ManagementError) as failed:
            await change_credits(store, ACME, order, policy=policy, by="command")
        assert failed.value.code is code


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(orders=st.lists(ORDERS, min_size=1, max_size=12), repeats=st.lists(st.integers(0, 11), max_size=12))
def test_retries_and_races_never_change_a_balance_twice(
    store_server: StoreServer, tmp_path: Path, orders: list[CreditOrder], repeats: list[int]
):
    """Several programs use the same keys at once, also for other changes, and repeat what they have sent."""
    with store_server.client() as client:
        client.flushall()
    policy = policy_of(tmp_path)
    sent = [*orders, *(orders[which % len(orders)] for which in repeats)]
    outcomes, journal = asyncio.run(_race(store_server, policy, sent))
    by_key = defaultdict[str, list[dict[str, Any]]](list)
    for entry in journal:
        if entry["event"] in ("grant", "spend", "set"):
            by_key[entry["call"]].append(entry)
    assert all(len(several) == 1 for several in by_key.values()), "no key has two effects"
    answers: dict[str, CreditResult] = {}
    for order, outcome in zip(sent, outcomes, strict=True):
        if order.key is None:
            continue
        if isinstance(outcome, CreditResult):
            assert answers.setdefault(order.key, outcome) == outcome, "one key has one answer"
            (entry,) = by_key[f"command:{order.key}"]
            assert (entry["event"], entry[f"credit:{order.pool}"]) == (order.verb, str(order.amount))
        else:
            assert outcome.code in (FailureCode.KEY_REUSED, FailureCode.TOO_LITTLE)
    done = [each for order, each in zip(sent, outcomes, strict=True) if order.key is None]
    unkeyed = sum(isinstance(each, CreditResult) for each in done)
    assert sum(len(several) for several in by_key.values()) == unkeyed + len(answers)


async def _race(
    server: StoreServer, policy: Policy, sent: Sequence[CreditOrder]
) -> tuple[list[Any], list[dict[str, Any]]]:
    stores = [OperatorStore(StoreSettings(url=server.url)) for _ in range(3)]
    try:
        for each in stores:
            await each.start(30)
        await set_account(stores[0], ACME, AccountChange(plan="growth", create=True), policy=policy, by="command")
        outcomes = await asyncio.gather(
            *(
                change_credits(stores[number % 3], ACME, order, policy=policy, by="command")
                for number, order in enumerate(sent)
            ),
            return_exceptions=True,
        )
        return outcomes, await entries(stores[0])
    finally:
        for each in stores:
            await each.close()
