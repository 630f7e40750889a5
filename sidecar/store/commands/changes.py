"""Commands that change and read accounts, consents and balances, for the CLI and other programs.

Changes of balances are idempotent on the operation id. Replies are a `ChangeCode`, or are read by the function that
follows the command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from sidecar.ledger import decoding
from sidecar.ledger.accounts import AccountState
from sidecar.ledger.journal.entries import JournalSnapshot
from sidecar.model import MAX_AMOUNT
from sidecar.store.commands.command import ChangeCode, Command, Script, text
from sidecar.store.commands.keys import (
    EVERY_CLIENT_TAG,
    REVOKED_CHANNEL,
    AccountKeys,
    account_keys,
    client_digest,
    consent_digest,
)
from sidecar.store.commands.shipped import (
    ACCOUNT_DELETE,
    ACCOUNT_SET,
    AUDIT,
    CREDITS,
    FORGET,
    GRANT,
    INSPECT,
    LIFT,
    REVOKE,
    REVOKE_ALL,
)
from sidecar.store.connection.store_connection import Argument
from sidecar.window_rules import Window


class Inspection(NamedTuple):
    """Current state of an account, without consents, sessions and paid items.

    Attributes:
        now: time of the store's clock, in milliseconds since the epoch.
        known: whether the account has a record and was not deleted.
    """

    now: int
    known: bool
    state: AccountState


class CreditChange(NamedTuple):
    """Result of a change of a balance; `included` is the part taken from included credits."""

    code: ChangeCode
    balance: int
    included: int


class Revoke(StrEnum):
    """Part of a revocation of all clients; the values are those of `lua/revoke_all.lua`."""

    ALL = "all"
    """Write the revocation, and revoke the records."""
    RECORDS = "records"
    """Revoke the records only."""
    COVERED = "covered"
    """Revoke only the records that the existing revocation covers: those that are not newer."""


def inspect(keys: AccountKeys) -> Command:
    """Read one account, after resolving expired holds."""
    return Command(INSPECT, (*keys.money, keys.account))


def audit(keys: AccountKeys) -> Command:
    """Read the stored state that a verification of the account needs; no hold is resolved."""
    return Command(AUDIT, (keys.ledger, keys.holds, keys.usage, keys.account, keys.paid))


def audited(reply: Any) -> JournalSnapshot:
    """Read the reply of `audit`."""
    types = dict(zip(("ledger", "holds", "usage", "account", "paid"), map(text, reply[:5]), strict=True))
    ledger, holds, newest, paid, now = reply[5:]
    return JournalSnapshot(types, _pairs(ledger), _pairs(holds), text(newest), int(paid), int(now))


def inspected(reply: Any) -> Inspection:
    """Read the reply of `inspect`.

    Raises:
        UnreadableError: a balance or counter is unreadable.
    """
    now, account, ledger, holds, leases = reply
    record = _pairs(account)
    ends = {call_id: _milliseconds(score) for call_id, score in _pairs(leases).items()}
    state = decoding.parse(record, _pairs(ledger), _pairs(holds), ends)
    return Inspection(int(now), bool(record) and "deleted" not in record, state)


def _milliseconds(score: str) -> int:
    """Return the end of a lease, bounded: an edited score may be infinite."""
    return int(min(max(float(score), 0.0), float(MAX_AMOUNT)))


def grant(
    issuer_id: str,
    account: str,
    subject: str | None,
    client_id: str,
    scopes: Iterable[str] | None = None,
    *,
    others: Sequence[str] = (),
    by: str = "",
    client_name: str = "",
) -> Command:
    """Grant a consent; `CREATED` when there was no record.

    Args:
        issuer_id: issuer of the account.
        account: the account.
        subject: None for every subject.
        client_id: the client.
        scopes: scopes of the record; None lists none.
        others: for every subject: keys of the client's existing consents, which are granted too.
        by: author of the change, for the journal.
        client_name: name of the client for lists; empty keeps the record's.
    """
    revocation = account_keys(issuer_id, account).revocation
    listed = ("", by, 1, client_name) if scopes is None else (" ".join(sorted(scopes)), by, 0, client_name)
    return _consent(GRANT, (issuer_id, account, subject, client_id), (revocation, *others), listed)


def revoke(
    issuer_id: str, account: str, subject: str | None, client_id: str, *, others: Sequence[str] = (), by: str = ""
) -> Command:
    """Revoke a consent, and notify every sidecar; arguments as in `grant`."""
    return _consent(REVOKE, (issuer_id, account, subject, client_id), others, (by,))


def forget(
    issuer_id: str, account: str, subject: str | None, client_id: str, *, others: Sequence[str] = (), by: str = ""
) -> Command:
    """Remove a consent, so that the client must be approved again; `UNKNOWN` without a record.

    Arguments are as in `grant`.
    """
    return _consent(FORGET, (issuer_id, account, subject, client_id), others, (by,))


def revoke_all(
    issuer_id: str, account: str, records: Sequence[str] = (), part: Revoke = Revoke.ALL, *, by: str = ""
) -> Command:
    """Revoke every client of an account, also unknown ones, and notify every sidecar; `revoked_all` reads the reply.

    Args:
        issuer_id: issuer of the account.
        account: the account.
        records: keys of its consents and client records.
        part: what to write.
        by: author of the change, for the journal.
    """
    keys = account_keys(issuer_id, account)
    args = (issuer_id, account, REVOKED_CHANNEL, f"{keys.digest} {EVERY_CLIENT_TAG}", part.value, by)
    return Command(REVOKE_ALL, (keys.revocation, keys.ledger, keys.usage, *records), args)


def revoked_all(reply: Any) -> tuple[ChangeCode, int]:
    """Return the code of `revoke_all`, `CREATED` when there was no revocation, and the number of revoked records."""
    return ChangeCode(int(reply[0])), int(reply[1])


def lift(issuer_id: str, account: str, *, by: str = "") -> Command:
    """Lift the revocation of all clients; `UNKNOWN` when there is none.

    Consents that it covers count again, unless `revoke_all` with `Revoke.COVERED` has revoked them before.
    """
    keys = account_keys(issuer_id, account)
    return Command(LIFT, (keys.revocation, keys.ledger, keys.usage), (by,))


def _consent(
    script: Script, party: tuple[str, str, str | None, str], others: Sequence[str], more: Sequence[Argument]
) -> Command:
    issuer_id, account, subject, client_id = party
    keys = account_keys(issuer_id, account)
    if subject is None:
        record, tag = keys.client(client_id), client_digest(client_id)
    else:
        record, tag = keys.consent(subject, client_id), consent_digest(subject, client_id)
    args = (issuer_id, account, subject or "", client_id, REVOKED_CHANNEL, f"{keys.digest} {tag}", *more)
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
    version: str = "",
    by: str = "",
) -> Command:
    """Change an account's record; values that are None stay.

    Args:
        issuer_id: issuer of the account.
        account: the account.
        plan: the new plan.
        active: the new status.
        quotas: own limits per (quota, window); a limit of None removes the plan's limit.
        drop: (quota, window) of own limits to remove, so that the plan's limits apply again.
        create: whether to create an unknown or deleted account; otherwise the reply is `UNKNOWN`.
        version: `decoding.record_version` that the record must have, or the reply is `CONFLICT`; empty for any.
        by: author of the change, for the journal.
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
    args = (int(create), issuer_id, account, len(fields), by, version, *fields, *dropped)
    return Command(ACCOUNT_SET, (keys.account, keys.ledger, keys.usage), args)


def delete_account(issuer_id: str, account: str, *, others: Sequence[str] = (), by: str = "") -> Command:
    """Delete everything of an account except its revocations, and leave it disabled.

    Args:
        issuer_id: issuer of the account.
        account: the account.
        others: keys of its consents, client records, sessions and tasks, found by SCAN.
        by: author of the deletion, for the journal.
    """
    keys = account_keys(issuer_id, account)
    deleted = (*keys.money, keys.account, keys.approvals, keys.sessions, keys.tasks, keys.consents, *others)
    return Command(ACCOUNT_DELETE, deleted, (issuer_id, account, by))


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
    by: str = "",
) -> Command:
    """Grant, spend or set credits of a pool.

    Args:
        issuer_id: issuer of the account.
        account: the account.
        verb: `grant`, `spend` or `set`.
        pool: the pool.
        amount: credits, at least 0.
        operation: id of this change; a repetition within `lease` milliseconds changes nothing, and another change
            with this id is refused with `CONFLICT`.
        lease: milliseconds for which the operation is remembered.
        included: for `spend`: window and included credits of the account's plan, which are spent first.
        create: whether to create an unknown account; otherwise the reply is `UNKNOWN`.
        by: author of the change, for the journal.
    """
    if verb not in ("grant", "spend", "set"):
        raise ValueError("credits can be granted, spent or set")
    keys = account_keys(issuer_id, account)
    window, limit = included or ("", 0)
    args = (operation, verb, pool, amount, lease, window, limit, int(create), issuer_id, account, by)
    return Command(CREDITS, (*keys.money, keys.account, keys.done(operation)), args)


def credited(reply: Any) -> CreditChange:
    """Read the reply of `change_credits`."""
    return CreditChange(ChangeCode(int(reply[0])), int(reply[1]), int(reply[2]))


def _pairs(flat: Sequence[Any]) -> dict[str, str]:
    words = list(map(text, flat))
    return dict(zip(words[::2], words[1::2], strict=True))
