"""Journal: pages in both directions, and new entries as they arrive."""

from __future__ import annotations

from pathlib import Path

from sidecar.management.credit_changes import CreditOrder, CreditVerb, change_credits
from sidecar.management.journal_reading import (
    BEFORE_FIRST,
    entries_after,
    entries_before,
    follow_entries,
    last_entries,
)
from sidecar.management.operator_store import OperatorStore
from tests.management.support import ACME, policy_of


async def test_pages_in_both_directions_have_every_entry_once(store: OperatorStore, tmp_path: Path):
    policy = policy_of(tmp_path)
    for _ in range(25):
        order = CreditOrder(CreditVerb.GRANT, "contact", 1, create=True)
        await change_credits(store, ACME, order, policy=policy, by="command")
    newest: list[str] = []
    page = await entries_before(store, ACME.keys, None, 10)
    while page:
        newest += [each.fields["n"] for each in page]
        page = await entries_before(store, ACME.keys, page[-1].id, 10)
    assert newest == [str(25 - number) for number in range(25)]
    oldest: list[str] = []
    page = await entries_after(store, ACME.keys, None, 10)
    while page:
        oldest += [each.fields["n"] for each in page]
        page = await entries_after(store, ACME.keys, page[-1].id, 10)
    assert oldest == newest[::-1]
    assert [each.fields["n"] for each in await last_entries(store, ACME.keys, 3)] == ["23", "24", "25"]


async def test_new_entries_are_followed_from_any_one_on(store: OperatorStore, tmp_path: Path):
    policy = policy_of(tmp_path)
    order = CreditOrder(CreditVerb.GRANT, "contact", 1, create=True)
    await change_credits(store, ACME, order, policy=policy, by="command")
    following = follow_entries(store, ACME.keys, BEFORE_FIRST, every=0.01)
    assert [each.fields["n"] for each in await anext(following)] == ["1"]
    assert await anext(following) == []
    await change_credits(store, ACME, order, policy=policy, by="command")
    batch = await anext(following)
    while not batch:
        batch = await anext(following)
    assert [each.fields["n"] for each in batch] == ["2"]
