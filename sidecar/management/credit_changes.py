"""Changes of balances: grant, spend and set credits, each exactly once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sidecar.management.failures import FailureCode, ManagementError
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.model import MAX_AMOUNT
from sidecar.policy.rules import Policy
from sidecar.store.commands import changes
from sidecar.store.commands.command import ChangeCode
from sidecar.window_rules import Window

KEY_LIFE: Final = 86_400_000
"""Milliseconds for which an idempotency key is remembered."""

MAX_KEY: Final = 255
"""Most characters of an idempotency key."""


class CreditVerb(StrEnum):
    """Kind of change."""

    GRANT = "grant"
    SPEND = "spend"
    SET = "set"


@dataclass(frozen=True, slots=True)
class CreditResult:
    """Outcome of a change.

    Attributes:
        balance: balance afterwards.
        included: part of a spend that was taken from included credits.
        created: True when the account's record was created.
    """

    balance: int
    included: int
    created: bool


@dataclass(frozen=True, slots=True)
class CreditOrder:
    """Change of one pool of credits.

    Attributes:
        key: idempotency key: for `KEY_LIFE` the same change by the same author and key has no further effect and the
            same outcome; None makes each order a change of its own.
        create: True creates an unknown account's record.
    """

    verb: CreditVerb
    pool: str
    amount: int
    key: str | None = None
    create: bool = False


async def change_credits(
    store: OperatorStore, target: Target, order: CreditOrder, *, policy: Policy, by: str
) -> CreditResult:
    """Grant, spend or set credits of a pool.

    Args:
        store: the store.
        target: the account.
        order: the change.
        policy: current policy: a spend takes the included credits of the account's plan first.
        by: author.

    Raises:
        ManagementError: `name_unknown`, `invalid`, `account_unknown`, `too_little`, `too_much`, `key_reused`.
    """
    _check(policy, order)
    command = changes.change_credits(
        target.issuer,
        target.account,
        order.verb.value,
        order.pool,
        order.amount,
        # Fixed before the first attempt, so that a retry after a lost answer has no further effect.
        operation=f"{by}:{uuid.uuid4() if order.key is None else order.key}",
        lease=KEY_LIFE,
        included=await _included(store, target, policy, order),
        create=order.create,
        by=by,
    )
    changed = changes.credited(await store.run(command))
    if changed.code not in (ChangeCode.DONE, ChangeCode.CREATED):
        raise _failure(changed.code, target, order.pool, changed.balance)
    return CreditResult(changed.balance, changed.included, changed.code is ChangeCode.CREATED)


def check_pool(policy: Policy, pool: str) -> None:
    """Check the name of a pool.

    Raises:
        ManagementError: `name_unknown`.
    """
    if pool not in policy.credits:
        listed = ", ".join(policy.credits) or "the policy has none"
        raise ManagementError(FailureCode.NAME_UNKNOWN, f"there is no pool of credits {pool!r}: {listed}")


def _check(policy: Policy, order: CreditOrder) -> None:
    check_pool(policy, order.pool)
    key = order.key
    if not 0 <= order.amount <= MAX_AMOUNT:
        raise ManagementError(FailureCode.INVALID, f"an amount must be an integer from 0 to {MAX_AMOUNT}")
    if key is not None and not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        text = f"an idempotency key must have 1 to {MAX_KEY} printable ASCII characters"
        raise ManagementError(FailureCode.INVALID, text)


async def _included(
    store: OperatorStore, target: Target, policy: Policy, order: CreditOrder
) -> tuple[Window, int] | None:
    """Return window and included credits of the account's plan, for a spend."""
    if order.verb is not CreditVerb.SPEND or policy.plans is None:
        return None
    plan = (await store.inspect(target)).state.plan or policy.default_plan
    terms = policy.plans.get(plan) if plan else None
    return terms.credits.get(order.pool) if terms else None


def _failure(code: ChangeCode, target: Target, pool: str, balance: int) -> ManagementError:
    if code is ChangeCode.TOO_LITTLE:
        text = f"account {target} has too few {pool} credits: the balance is {balance}"
        return ManagementError(FailureCode.TOO_LITTLE, text)
    if code is ChangeCode.TOO_MUCH:
        text = f"the {pool} credits of account {target} would exceed the largest amount, 2^53 - 1"
        return ManagementError(FailureCode.TOO_MUCH, text)
    if code is ChangeCode.CONFLICT:
        return ManagementError(FailureCode.KEY_REUSED, "the idempotency key was used for another change: use a new one")
    return ManagementError(FailureCode.ACCOUNT_UNKNOWN, f"the store has no record of account {target}")
