"""Account records: list, show, set and delete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sidecar.ledger.decoding import parse_overrides, record_version
from sidecar.management.failures import FailureCode, ManagementError
from sidecar.management.operator_store import OperatorStore, texts
from sidecar.management.targets import Target
from sidecar.policy.rules import Policy
from sidecar.store.commands import bindings, changes
from sidecar.store.commands.command import ChangeCode
from sidecar.store.commands.keys import EVERY_ACCOUNT_KEY, AccountKeys, claim_of, keys_of, place_of
from sidecar.store.health.corruption import CorruptionError
from sidecar.window_rules import Window

UNLIMITED: Final = "unlimited"
"""Own limit that removes the plan's limit."""


class AccountStatus(StrEnum):
    """Status of an account."""

    ACTIVE = "active"
    DISABLED = "disabled"
    DELETED = "deleted"
    """Disabled until it is set again."""
    DAMAGED = "damaged"
    """The key of the record has another type."""


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """Record of an account.

    Attributes:
        issuer: issuer id in the record; None when another program has not written it.
        account: name in the record; None as `issuer`.
        digest: digest in the account's keys.
        plan: plan of the record; None when the policy's default plan applies.
        quotas: own limits by `NAME.WINDOW`: a number or `UNLIMITED`.
        version: version of the record, for `AccountChange`; empty for a damaged one.
    """

    issuer: str | None
    account: str | None
    digest: str
    plan: str | None
    status: AccountStatus
    quotas: Mapping[str, int | str]
    version: str


@dataclass(frozen=True, slots=True)
class AccountDetail:
    """Record of an account with more of its state.

    Attributes:
        balances: credits per pool that are not held.
        consents: number of consent records.
        all_clients_revoked: True while a revocation of all clients applies.
    """

    record: AccountRecord
    balances: Mapping[str, int]
    consents: int
    all_clients_revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChange:
    """Change of an account's record; None leaves a value.

    Attributes:
        plan: new plan, one of the policy's.
        active: new status.
        limits: own limits per (quota, window); None removes the plan's limit.
        drop: (quota, window) of own limits to remove, so that the plan's limits apply again.
        create: True creates an unknown or deleted account.
        version: version that the record must have; None for any.
    """

    plan: str | None = None
    active: bool | None = None
    limits: Mapping[tuple[str, Window], int | None] = field(default_factory=dict)
    drop: Sequence[tuple[str, Window]] = ()
    create: bool = False
    version: str | None = None


# --- reading -----------------------------------------------------------------------------------


async def list_accounts(store: OperatorStore, issuer: str) -> list[AccountRecord]:
    """Return the accounts of an issuer that have a record, by name; records that name no issuer are among them."""
    found = [await read_account(store, keys_of(key)) for key in await store.keys(EVERY_ACCOUNT_KEY)]
    mine = [each for each in found if each is not None and each.issuer in (issuer, None)]
    return sorted(mine, key=lambda each: (each.issuer or "", each.account or "", each.digest))


async def show_account(store: OperatorStore, target: Target) -> AccountDetail:
    """Return an account that has a record.

    Raises:
        ManagementError: `account_unknown`.
        CorruptionError: the key of the record has another type.
    """
    fields = await store.fields(target.keys.account)
    if not fields:
        raise ManagementError(FailureCode.ACCOUNT_UNKNOWN, f"the store has no record of account {target}")
    state = (await store.inspect(target)).state
    return AccountDetail(
        _record(fields, target.keys),
        state.balances,
        len(await store.consents(target)),
        await store.revocation(target) is not None,
    )


async def read_account(store: OperatorStore, keys: AccountKeys) -> AccountRecord | None:
    """Return an account's record; None without one."""
    try:
        fields = await store.fields(keys.account)
    except CorruptionError:
        return AccountRecord(None, None, keys.digest, None, AccountStatus.DAMAGED, {}, "")
    return _record(fields, keys) if fields else None  # deleted since the scan


def _record(stored: dict[bytes, bytes], keys: AccountKeys) -> AccountRecord:
    fields = texts(stored)
    active = fields.get("status", "active") == "active"
    status = AccountStatus.ACTIVE if active else AccountStatus.DISABLED
    return AccountRecord(
        fields.get("issuer"),
        fields.get("account"),
        keys.digest,
        fields.get("plan") or None,
        AccountStatus.DELETED if "deleted" in fields else status,
        limits_by_field(parse_overrides(fields)),
        record_version(stored),
    )


def limits_by_field(own: Mapping[tuple[str, Window], int | None]) -> dict[str, int | str]:
    """Return an account's own limits by `NAME.WINDOW`."""
    return {f"{quota}.{window}": UNLIMITED if limit is None else limit for (quota, window), limit in own.items()}


# --- changing ----------------------------------------------------------------------------------


def check_plan(policy: Policy, change: AccountChange) -> None:
    """Check the plan of a change against the current policy.

    Raises:
        ManagementError: `name_unknown`.
    """
    plans = policy.plans or {}
    if change.plan is not None and change.plan not in plans:
        raise _unknown("plan", change.plan, plans)


def _check_quotas(policy: Policy, change: AccountChange, own: Iterable[tuple[str, Window]]) -> None:
    for quota, _ in change.limits:
        if quota not in policy.quotas:
            raise _unknown("quota", quota, policy.quotas)
    known = dict.fromkeys([*policy.quotas, *(quota for quota, _ in own)])
    for quota, _ in change.drop:  # a quota may have left the policy since
        if quota not in known:
            raise _unknown("quota", quota, known)


async def set_account(
    store: OperatorStore, target: Target, change: AccountChange, *, policy: Policy | None, by: str
) -> bool:
    """Change an account's record; return True when the record was created.

    Args:
        store: the store.
        target: the account.
        change: the change.
        policy: current policy; None is enough for a change of the status only.
        by: author.

    Raises:
        ManagementError: `name_unknown`, `account_unknown`, `version_conflict`.
    """
    if policy is not None:
        check_plan(policy, change)
        own = parse_overrides(await store.record(target.keys.account)) if change.drop else {}
        _check_quotas(policy, change, own)
    elif change.plan is not None or change.limits or change.drop:
        raise ValueError("plans and quotas are checked against a policy")
    command = changes.set_account(
        target.issuer,
        target.account,
        plan=change.plan,
        active=change.active,
        quotas=change.limits,
        drop=change.drop,
        create=change.create,
        version=change.version or "",
        by=by,
    )
    code = ChangeCode(await store.run(command))
    if code is ChangeCode.UNKNOWN:
        raise ManagementError(FailureCode.ACCOUNT_UNKNOWN, f"the store has no record of account {target}")
    if code is ChangeCode.CONFLICT:
        raise ManagementError(
            FailureCode.VERSION_CONFLICT, f"the record of account {target} has changed: read it again"
        )
    return code is ChangeCode.CREATED


def _unknown(kind: str, name: str, known: Iterable[str]) -> ManagementError:
    listed = ", ".join(known) or "the policy has none"
    return ManagementError(FailureCode.NAME_UNKNOWN, f"there is no {kind} {name!r}: {listed}")


async def delete_account(store: OperatorStore, target: Target, *, by: str) -> None:
    """Delete an account except its revocations; it stays disabled until it is set again.

    Raises:
        ManagementError: `account_unknown`; the store has no data of it.
    """
    keys = target.keys
    bound = [key for pattern in (keys.every_session, keys.every_task) for key in await store.keys(pattern)]
    patterns = (*keys.every_record, *keys.every_list, keys.every_login)
    others = [key for pattern in patterns for key in await store.keys(pattern)]
    others += [keys.revocation, keys.logins]
    code = await store.run(changes.delete_account(target.issuer, target.account, others=[*others, *bound], by=by))
    for key in bound:
        kind, _, name = place_of(key).partition(":")
        await store.run(bindings.drop_claim(claim_of(kind, name), keys.digest))
    if ChangeCode(code) is ChangeCode.UNKNOWN:
        raise ManagementError(FailureCode.ACCOUNT_UNKNOWN, f"the store has no data of account {target}")
