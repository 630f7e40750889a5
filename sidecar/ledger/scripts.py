"""The store's scripts as commands: what to send, and how to read what comes back.

Nothing here talks to a store; this module is what `store.Store` wants as its `scripts`. Scripts of
calls are idempotent on the call id, changes of balances on the operation id. Commands whose answer
is a `ChangeCode` say so; the others say what they answer, or name the function that reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from importlib.resources import files
from typing import Any, Final, NamedTuple

import orjson

from sidecar.ledger import accounts
from sidecar.ledger.accounts import AccountState
from sidecar.ledger.connection import Argument
from sidecar.ledger.keys import REVOKED_CHANNEL, AccountKeys, account_keys, caller_keys, client_digest, consent_digest
from sidecar.ledger.store import Command, Script
from sidecar.model import (
    WINDOWS,
    Admission,
    AdmissionCode,
    AmountKind,
    Application,
    Caller,
    Charge,
    Demand,
    Depth,
    PlanTerms,
    Price,
    Receipt,
    Terms,
    Window,
)

SESSION_LIFE: Final = 86_400
"""Seconds that a session's binding lives without being used."""


def _load(name: str) -> Script:
    folder = files("sidecar.ledger") / "lua"
    lines = []
    for line in (folder / f"{name}.lua").read_text("utf-8").splitlines():
        included = line.removeprefix("-- include ")
        lines.append(line if included == line else (folder / included).read_text("utf-8"))
    text = "\n".join(lines) + "\n"
    return Script(name, text)


ADMIT: Final = _load("admit")
RESOLVE: Final = _load("resolve")
DEFER: Final = _load("defer")
SWEEP: Final = _load("sweep")
INSPECT: Final = _load("inspect")
SESSION: Final = _load("session")
GRANT: Final = _load("grant")
REVOKE: Final = _load("revoke")
ACCOUNT_SET: Final = _load("account_set")
ACCOUNT_DELETE: Final = _load("account_delete")
CREDITS: Final = _load("credits")

scripts: Final[Sequence[Script]] = (
    ADMIT,
    RESOLVE,
    DEFER,
    SWEEP,
    INSPECT,
    SESSION,
    GRANT,
    REVOKE,
    ACCOUNT_SET,
    ACCOUNT_DELETE,
    CREDITS,
)
"""All of them: load these on every new connection, and once more after NOSCRIPT."""


# --- calls -------------------------------------------------------------------------------------


def admit(application: Application) -> Command:
    """Pass gates 5-7 and reserve, or only look."""
    caller = application.caller
    keys = caller_keys(caller)
    subject = consent_digest(caller.subject, caller.client_id)
    session = application.session
    return Command(
        ADMIT,
        (
            keys.account,
            keys.consent(caller.subject, caller.client_id),
            keys.client(caller.client_id),
            keys.session(session or ""),
            *_money(keys),
            keys.done(application.call_id),
        ),
        (
            application.call_id,
            int(application.look),
            _DEPTHS[application.depth],
            application.lease,
            "" if session is None else subject,
            caller.issuer_id,
            caller.account,
            caller.subject,
            caller.client_id,
            application.owner,
            application.on_unknown.value,
            _encode_demands(application.demands),
            *_encode_terms(application.terms),
        ),
    )


def admitted(application: Application, reply: Any) -> Admission:
    """What `admit` answered."""
    code, plan, scopes, since, refused, held = reply[:6]
    prices = []
    for demand, at in zip(application.demands, range(6, len(reply), _PRICE_WORDS), strict=False):
        needed, left, limit, window, rest = reply[at : at + _PRICE_WORDS]
        name = None if window is None else WINDOWS[window - 1]
        prices.append(Price(demand.kind, demand.name, needed, left, limit, name, rest))
    return Admission(
        code=AdmissionCode(code),
        plan=None if plan is None else _text(plan),
        consent_scopes=None if scopes is None else frozenset(_text(scopes).split()),
        consent_since=since,
        prices=tuple(prices),
        refused=refused,
        held=bool(held),
    )


def settle(application: Application, charges: Sequence[Charge] | None) -> Command:
    """Charge an admitted application.

    Args:
        application: as it was admitted.
        charges: what each demand cost, in order; missing ones, or all for None, cost what was reserved.
    """
    costs = [each.amount if each.items is None else each.items for each in charges or ()]
    return _resolve(application, "settled", True, orjson.dumps(costs))


def release(application: Application, *, forwarded: bool = False) -> Command:
    """Give back what an application reserved, or see that its admission, arriving late, reserves nothing.

    Args:
        application: as it was sent to `admit`.
        forwarded: whether the call was sent to the backend: then fixed amounts stay consumed.
    """
    return _resolve(application, "released", forwarded, b"[]")


def _resolve(application: Application, how: str, forwarded: bool, costs: bytes) -> Command:
    keys = caller_keys(application.caller)
    call_id = application.call_id
    args = (call_id, how, int(forwarded), application.lease, costs)
    return Command(RESOLVE, (*_money(keys), keys.done(call_id)), args)


def receipt(reply: Any) -> Receipt:
    """What `settle` and `release` were answered."""
    if reply[0]:
        return Receipt(late=True)
    paid: dict[str, int] = {}
    used: dict[str, int] = {}
    for at in range(1, len(reply), 3):
        kind, name, amount = _text(reply[at]), _text(reply[at + 1]), int(reply[at + 2])
        total = paid if kind == AmountKind.CREDIT.value else used
        total[name] = total.get(name, 0) + amount
    return Receipt(paid, used)


def defer(caller: Caller, call_id: str, request: str) -> Command:
    """Mark a hold deferred on `keys.request_digest(session, request id)`; answers 0 when there is no such hold.

    Which call a request was deferred for is `HGET <keys.deferred> <request digest>`.
    """
    keys = caller_keys(caller)
    return Command(DEFER, (keys.holds, keys.deferred), (call_id, request))


def sweep(keys: AccountKeys) -> Command:
    """Resolve holds of one account whose owner died; answers how many, `EXPIRED_AT_ONCE` at most."""
    return Command(SWEEP, _money(keys))


# --- sessions ----------------------------------------------------------------------------------


def bind_session(caller: Caller, session: str) -> Command:
    """Make a session the caller's; answers 0 when it is somebody else's already."""
    return _session("bind", caller, session)


def touch_session(caller: Caller, session: str) -> Command:
    """Answers 1 when the session is the caller's, which then lives on, else 0."""
    return _session("touch", caller, session)


def end_session(caller: Caller, session: str) -> Command:
    """End the caller's session; answers 0 when it was not the caller's."""
    return _session("end", caller, session)


def _session(verb: str, caller: Caller, session: str) -> Command:
    binding = consent_digest(caller.subject, caller.client_id)
    args = (verb, binding, caller.subject, caller.client_id, SESSION_LIFE)
    return Command(SESSION, (caller_keys(caller).session(session),), args)


# --- accounts, consents and balances: what commands and other programs change --------------------


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
    return Command(INSPECT, (*_money(keys), keys.account))


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
    return Command(script, (record, keys.client(client_id), *others), args)


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
        others: keys of its consents, its records per client and its sessions, found by SCAN.
    """
    keys = account_keys(issuer_id, account)
    return Command(ACCOUNT_DELETE, (*_money(keys), keys.account, *others), (issuer_id, account))


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
    return Command(CREDITS, (*_money(keys), keys.account, keys.done(operation)), args)


# --- encoding ----------------------------------------------------------------------------------

_PRICE_WORDS: Final = 5
_DEPTHS: Final = {Depth.CONSENT: 0, Depth.PLAN: 1, Depth.PRICE: 2}


def _money(keys: AccountKeys) -> tuple[str, ...]:
    """The keys `lua/ledger.lua` works on, in its order."""
    return (keys.ledger, keys.holds, keys.leases, keys.paid, keys.deferred, keys.usage)


def _encode_demands(demands: Sequence[Demand]) -> bytes:
    return orjson.dumps([(d.kind.value, d.name, d.reserve, d.fixed, d.items, d.each) for d in demands])


_encoded: dict[int, tuple[Terms, tuple[Argument, ...]]] = {}
_ENCODED_MOST: Final = 4096


def _encode_terms(terms: Terms) -> tuple[Argument, ...]:
    # Terms are compiled once per operation and sent with every call; keeping them keeps their id theirs.
    known = _encoded.get(id(terms))
    if known is not None:
        return known[1]
    if len(_encoded) >= _ENCODED_MOST:  # reloads made new ones
        _encoded.clear()
    head: tuple[Argument, ...] = (
        terms.consent.value,
        terms.default_plan or "",
        orjson.dumps(terms.scopes) if terms.scopes else b"",
    )
    if terms.plans is None:
        args = (*head, -1, _encode_plan(terms.base))
    else:
        pairs = [word for name, plan in terms.plans.items() for word in (name, _encode_plan(plan))]
        args = (*head, len(terms.plans), *pairs)
    _encoded[id(terms)] = (terms, args)
    return args


def _encode_plan(plan: PlanTerms) -> bytes:
    quotas = {name: dict(limits) for name, limits in plan.quotas.items()}
    return orjson.dumps({"allowed": plan.allowed, "quotas": quotas, "credits": dict(plan.credits)})


# --- decoding ----------------------------------------------------------------------------------


def _text(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw


def _pairs(flat: Sequence[Any]) -> dict[str, str]:
    return {_text(flat[i]): _text(flat[i + 1]) for i in range(0, len(flat), 2)}


def inspected(reply: Any) -> Inspection:
    """What `inspect` answered."""
    now, account, ledger, holds, leases = reply
    record = _pairs(account)
    ends = {call_id: int(float(score)) for call_id, score in _pairs(leases).items()}
    state = accounts.parse(record, _pairs(ledger), _pairs(holds), ends)
    return Inspection(int(now), bool(record) and "deleted" not in record, state)


def credited(reply: Any) -> CreditChange:
    """What `change_credits` answered."""
    return CreditChange(ChangeCode(int(reply[0])), int(reply[1]), int(reply[2]))
