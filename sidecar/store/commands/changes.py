"""What commands and other programs change and read: accounts, consents and balances.

Like `scripts`, whose commands these are too: changes of balances are idempotent on the operation id,
and commands whose answer is a `ChangeCode` say so; the others name the function that reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from sidecar.ledger import stored
from sidecar.ledger.accounts import AccountState
from sidecar.ledger.command import Command, Script, text
from sidecar.ledger.connection import Argument
from sidecar.ledger.journal_entries import Snapshot
from sidecar.ledger.keys import REVOKED_CHANNEL, AccountKeys, account_keys, client_digest, consent_digest
from sidecar.ledger.scripts import ACCOUNT_DELETE, ACCOUNT_SET, AUDIT, CREDITS, GRANT, INSPECT, REVOKE
from sidecar.model import MAX_AMOUNT, Window


class Inspection(NamedTuple):
    """One account as it stands: without consents, sessions and paid items.

    Attributes:
        now: the store's clock, in milliseconds since the epoch.
        known: whether a record exists that was not deleted.
    """

    now: int
    known: bool
    state: AccountState


class ChangeCode(IntEnum):
    """What the scripts of commands answer; the Lua returns the same numbers."""

    DONE = 0
    CREATED = 1
    UNKNOWN = 2  # no such account, and it was not to be created
    TOO_LITTLE = 3  # less is left than was to be spent
    TOO_MUCH = 4  # the balance would pass `MAX_AMOUNT`


class CreditChange(NamedTuple):
    """What became of a change of a balance; `included` is how much of it was taken from included credits."""

    code: ChangeCode
    balance: int
    included: int


def inspect(keys: AccountKeys) -> Command:
    """Read one account, after resolving what dead owners left."""
    return Command(INSPECT, (*keys.money, keys.account))


def audit(keys: AccountKeys) -> Command:
    """Read what one account is recomputed against; nothing is resolved by it."""
    return Command(AUDIT, (keys.ledger, keys.holds, keys.usage, keys.account, keys.paid))


def audited(reply: Any) -> Snapshot:
    """What `audit` answered."""
    types = dict(zip(("ledger", "holds", "usage", "account", "paid"), map(text, reply[:5]), strict=True))
    ledger, holds, newest, paid, now = reply[5:]
    return Snapshot(types, _pairs(ledger), _pairs(holds), text(newest), int(paid), int(now))


def inspected(reply: Any) -> Inspection:
    """What `inspect` answered.

    Raises:
        UnreadableError: a balance or counter cannot be read.
    """
    now, account, ledger, holds, leases = reply
    record = _pairs(account)
    ends = {call_id: _milliseconds(score) for call_id, score in _pairs(leases).items()}
    state = stored.parse(record, _pairs(ledger), _pairs(holds), ends)
    return Inspection(int(now), bool(record) and "deleted" not in record, state)


def _milliseconds(score: str) -> int:
    """The end of a lease; somebody may have written that it never ends."""
    return int(min(max(float(score), 0.0), float(MAX_AMOUNT)))


def grant(
    issuer_id: str,
    account: str,
    subject: str | None,
    client_id: str,
    scopes: Iterable[str] | None = None,
    *,
    others: Sequence[str] = (),
) -> Command:
    """Grant a consent; `CREATED` when there was no record.

    Args:
        issuer_id: with `account`, whose.
        account: with `issuer_id`, whose.
        subject: None for every subject.
        client_id: the client.
        scopes: those the record shall list; None lists none.
        others: for every subject: keys of this client's consents that exist, to be granted as well.
    """
    return _consent(GRANT, (issuer_id, account, subject, client_id), others, scopes)


def revoke(issuer_id: str, account: str, subject: str | None, client_id: str, *, others: Sequence[str] = ()) -> Command:
    """Revoke a consent, and tell every sidecar; arguments as in `grant`."""
    return _consent(REVOKE, (issuer_id, account, subject, client_id), others, None)


def _consent(
    script: Script, whose: tuple[str, str, str | None, str], others: Sequence[str], scopes: Iterable[str] | None
) -> Command:
    issuer_id, account, subject, client_id = whose
    keys = account_keys(issuer_id, account)
    if subject is None:
        record, tag = keys.client(client_id), client_digest(client_id)
    else:
        record, tag = keys.consent(subject, client_id), consent_digest(subject, client_id)
    listed = () if scopes is None else (" ".join(sorted(scopes)),)
    args = (issuer_id, account, subject or "", client_id, REVOKED_CHANNEL, f"{keys.digest} {tag}", *listed)
    return Command(script, (record, keys.client(client_id), keys.ledger, keys.usage, *others), args)


def set_account(
    issuer_id: str,
    account: str,
    *,
    plan: str | None = None,
    active: bool | None = None,
    quotas: Mapping[tuple[str, Window], int | None] | None = None,
    drop: Sequence[tuple[str, Window]] = (),
    create: bool = False,
) -> Command:
    """Change an account's record; what is None stays.

    Args:
        issuer_id: with `account`, whose.
        account: with `issuer_id`, whose.
        plan: the new plan.
        active: the new status.
        quotas: own limits per (quota, window); None there removes the plan's limit.
        drop: (quota, window) whose own limit goes, so that the plan's holds again.
        create: an unknown or deleted account is created, else it is `UNKNOWN`.
    """
    keys = account_keys(issuer_id, account)
    fields: list[Argument] = []
    if plan is not None:
        fields += ["plan", plan]
    if active is not None:
        fields += ["status", "active" if active else "disabled"]
    for (name, window), limit in (quotas or {}).items():
        fields += [f"quota:{name}:{window}", "unlimited" if limit is None else limit]
    dropped = [f"quota:{name}:{window}" for name, window in drop]
    args = (int(create), issuer_id, account, len(fields), *fields, *dropped)
    return Command(ACCOUNT_SET, (keys.account,), args)


def delete_account(issuer_id: str, account: str, *, others: Sequence[str] = ()) -> Command:
    """Delete all but the revocations of an account, and leave it disabled.

    Args:
        issuer_id: with `account`, whose.
        account: with `issuer_id`, whose.
        others: keys of its consents, its records per client, its sessions and tasks, found by SCAN.
    """
    keys = account_keys(issuer_id, account)
    return Command(
        ACCOUNT_DELETE, (*keys.money, keys.account, keys.sessions, keys.tasks, *others), (issuer_id, account)
    )


def change_credits(
    issuer_id: str,
    account: str,
    verb: str,
    pool: str,
    amount: int,
    *,
    operation: str,
    lease: int = 3_600_000,
    included: tuple[Window, int] | None = None,
    create: bool = False,
) -> Command:
    """Grant, spend or set credits of a pool.

    Args:
        issuer_id: with `account`, whose.
        account: with `issuer_id`, whose.
        verb: `grant`, `spend` or `set`.
        pool: the pool.
        amount: credits, at least 0.
        operation: an id of this change: repeated within `lease` milliseconds it changes nothing.
        lease: how long the operation is remembered, in milliseconds.
        included: for `spend`: window and included credits of the account's plan, spent first.
        create: an unknown account is created, else it is `UNKNOWN`.
    """
    if verb not in ("grant", "spend", "set"):
        raise ValueError("credits can be granted, spent or set")
    keys = account_keys(issuer_id, account)
    window, limit = included or ("", 0)
    args = (operation, verb, pool, amount, lease, window, limit, int(create), issuer_id, account)
    return Command(CREDITS, (*keys.money, keys.account, keys.done(operation)), args)


def credited(reply: Any) -> CreditChange:
    """What `change_credits` answered."""
    return CreditChange(ChangeCode(int(reply[0])), int(reply[1]), int(reply[2]))


def _pairs(flat: Sequence[Any]) -> dict[str, str]:
    words = list(map(text, flat))
    return dict(zip(words[::2], words[1::2], strict=True))
