"""Accounts: versions for writers that race, and journal entries with their author."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.ledger.decoding import record_version
from sidecar.management.account_records import (
    AccountChange,
    AccountStatus,
    delete_account,
    list_accounts,
    set_account,
    show_account,
)
from sidecar.management.failures import FailureCode, ManagementError
from sidecar.management.operator_store import OperatorStore
from sidecar.store.commands.shipped import ACCOUNT_SET
from tests.management.support import ACME, entries, policy_of
from tests.support.store import StoreServer


async def test_each_change_has_an_entry_with_what_has_changed_and_its_author(store: OperatorStore, tmp_path: Path):
    policy = policy_of(tmp_path)
    assert await set_account(store, ACME, AccountChange(plan="free", create=True), policy=policy, by="command")
    limits = AccountChange(plan="growth", active=False, limits={("rows", "month"): 7, ("requests", "day"): None})
    assert not await set_account(store, ACME, limits, policy=policy, by="admin:billing")
    await set_account(store, ACME, AccountChange(active=False), policy=None, by="admin:billing")
    drop = AccountChange(active=True, drop=[("rows", "month"), ("rows", "day")])
    await set_account(store, ACME, drop, policy=policy, by="holder")
    assert await entries(store) == [
        {"event": "account_set", "created": "1", "plan": "free", "by": "command"},
        {
            "event": "account_set",
            "plan": "growth",
            "was:plan": "free",
            "status": "disabled",
            "limit:rows:month": "7",
            "limit:requests:day": "unlimited",
            "by": "admin:billing",
        },
        # The third change has changed nothing.
        {
            "event": "account_set",
            "status": "active",
            "was:status": "disabled",
            "limit:rows:month": "plan",
            "by": "holder",
        },
    ]
    await delete_account(store, ACME, by="command")
    assert await entries(store) == [{"event": "account_deleted", "by": "command"}]
    assert (await show_account(store, ACME)).record.status is AccountStatus.DELETED
    await set_account(store, ACME, AccountChange(create=True), policy=None, by="command")
    assert (await entries(store))[1:] == [
        {"event": "account_set", "created": "1", "status": "active", "was:status": "disabled", "by": "command"}
    ]


async def test_of_two_writers_that_have_read_one_version_one_wins(store: OperatorStore, tmp_path: Path):
    policy = policy_of(tmp_path)
    await set_account(store, ACME, AccountChange(plan="free", create=True), policy=policy, by="command")
    version = (await show_account(store, ACME)).record.version
    changes = [AccountChange(limits={("rows", "month"): limit}, version=version) for limit in range(20)]
    outcomes = await asyncio.gather(
        *(set_account(store, ACME, each, policy=policy, by="admin:a") for each in changes), return_exceptions=True
    )
    failed = [each for each in outcomes if isinstance(each, ManagementError)]
    assert {each.code for each in failed} == {FailureCode.VERSION_CONFLICT}
    assert outcomes.count(False) == 1
    written = outcomes.index(False)
    record = (await show_account(store, ACME)).record
    assert record.quotas == {"rows.month": written}
    assert record.version != version
    # The winner may have lost its answer: what it wants is there.
    assert not await set_account(store, ACME, changes[written], policy=policy, by="admin:a")
    assert len(await entries(store)) == 2


async def test_a_version_may_be_that_of_an_account_without_a_record(store: OperatorStore, tmp_path: Path):
    policy, empty = policy_of(tmp_path), record_version({})
    create = AccountChange(plan="free", create=True, version=empty)
    assert await set_account(store, ACME, create, policy=policy, by="command")
    other = AccountChange(plan="growth", create=True, version=empty)
    with pytest.raises(ManagementError, match="has changed: read it again"):
        await set_account(store, ACME, other, policy=policy, by="command")
    assert (await list_accounts(store, "main"))[0].plan == "free"


async def test_a_direct_write_of_another_program_changes_the_version(store: OperatorStore, store_server: StoreServer):
    await set_account(store, ACME, AccountChange(create=True), policy=None, by="command")
    version = (await show_account(store, ACME)).record.version
    with store_server.client() as client:
        client.hset(ACME.keys.account, "plan", "growth")
        assert (await show_account(store, ACME)).record.version != version
        client.hdel(ACME.keys.account, "plan")
    assert (await show_account(store, ACME)).record.version == version


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.binary(min_size=1, max_size=9), st.binary(max_size=9), max_size=6))
def test_versions_are_equal_in_both_languages(store_server: StoreServer, fields: dict[bytes, bytes]):
    fields[b"issuer"] = b"main"
    version = ACCOUNT_SET.source[: ACCOUNT_SET.source.index("local MAX_WORDS")]
    with store_server.client() as client:
        client.delete(ACME.keys.account)
        client.hset(ACME.keys.account, mapping=fields)
        body = version + "\nreturn version_of(redis.call('HGETALL', KEYS[1]))"
        assert client.eval(body, 3, ACME.keys.account, "l", "u") == record_version(fields)


async def test_an_account_is_disabled_also_when_its_journal_cannot_be_written(
    store: OperatorStore, store_server: StoreServer, tmp_path: Path
):
    policy = policy_of(tmp_path)
    await set_account(store, ACME, AccountChange(plan="free", create=True), policy=policy, by="command")
    with store_server.client() as client:
        client.delete(ACME.keys.usage)
        client.set(ACME.keys.usage, "no journal")
        await set_account(store, ACME, AccountChange(active=False), policy=None, by="command")
        assert client.hget(ACME.keys.account, "status") == "disabled"
        with pytest.raises(Exception, match="not a stream; nothing was changed"):
            await set_account(store, ACME, AccountChange(plan="growth"), policy=policy, by="command")
        assert client.hget(ACME.keys.account, "plan") == "free"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (AccountChange(plan="gold"), "there is no plan 'gold': free, growth"),
        (AccountChange(limits={("cows", "day"): 1}), "there is no quota 'cows': requests, rows"),
        (AccountChange(drop=[("cows", "day")]), "there is no quota 'cows': requests, rows"),
    ],
)
async def test_names_that_the_policy_lacks_are_refused(
    store: OperatorStore, tmp_path: Path, change: AccountChange, text: str
):
    with pytest.raises(ManagementError, match=text) as failed:
        await set_account(store, ACME, change, policy=policy_of(tmp_path), by="command")
    assert failed.value.code is FailureCode.NAME_UNKNOWN
