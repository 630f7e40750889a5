"""The store's scripts, and those of calls as commands: what to send, how to read what comes back.

Nothing here talks to a store; this module is what `store.Store` wants as its `scripts`. Scripts of calls are
idempotent on the call id. What accounts are changed and read with is in `changes`, sessions and tasks in `bindings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

import orjson

from sidecar.ledger.command import Command, Script, text
from sidecar.ledger.connection import Argument
from sidecar.ledger.keys import AccountKeys, caller_keys, consent_digest
from sidecar.model import (
    WINDOWS,
    Admission,
    AdmissionCode,
    AmountKind,
    Application,
    Demand,
    Depth,
    PlanTerms,
    Price,
    Terms,
)
from sidecar.outcome import Charge, Receipt


def _load(name: str) -> Script:
    return Script(name, "\n".join(_lines(f"{name}.lua")) + "\n")


def _lines(file: str) -> list[str]:
    lines: list[str] = []
    for line in (files("sidecar.ledger") / "lua" / file).read_text("utf-8").splitlines():
        included = line.removeprefix("-- include ")
        lines += [line] if included == line else [*_lines(included), ""]
    return lines


ADMIT: Final = _load("admit")
RESOLVE: Final = _load("resolve")
DEFER: Final = _load("defer")
FOLLOW: Final = _load("follow")
RECALL: Final = _load("recall")
STANDING: Final = _load("standing")
SWEEP: Final = _load("sweep")
INSPECT: Final = _load("inspect")
AUDIT: Final = _load("audit")
BINDING: Final = _load("binding")
GRANT: Final = _load("grant")
REVOKE: Final = _load("revoke")
ACCOUNT_SET: Final = _load("account_set")
ACCOUNT_DELETE: Final = _load("account_delete")
CREDITS: Final = _load("credits")
PERMISSIONS: Final = _load("permissions")

scripts: Final[Sequence[Script]] = (
    ADMIT,
    RESOLVE,
    DEFER,
    FOLLOW,
    RECALL,
    STANDING,
    SWEEP,
    INSPECT,
    AUDIT,
    BINDING,
    GRANT,
    REVOKE,
    ACCOUNT_SET,
    ACCOUNT_DELETE,
    CREDITS,
    PERMISSIONS,
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
            *keys.money,
            keys.outcome(application.call_id),
            *map(keys.task, application.tasks),
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
            *_encode_terms(application),
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
        plan=None if plan is None else text(plan),
        consent_scopes=None if scopes is None else frozenset(text(scopes).split()),
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
    return Command(RESOLVE, (*keys.money, keys.outcome(call_id)), args)


def receipt(reply: Any) -> Receipt:
    """What `settle` and `release` were answered."""
    if reply[0]:
        return Receipt(late=True)
    paid: dict[str, int] = {}
    used: dict[str, int] = {}
    for at in range(1, len(reply), 3):
        kind, name, amount = text(reply[at]), text(reply[at + 1]), int(reply[at + 2])
        total = paid if kind == AmountKind.CREDIT.value else used
        total[name] = total.get(name, 0) + amount
    return Receipt(paid, used)


def defer(application: Application, context: bytes, events: Sequence[str] = ()) -> Command:
    """Keep the hold of an admitted application open for a response on another stream; answers 0 when it is gone.

    Args:
        application: as it was admitted.
        context: what pricing the response needs (`deferral.write`).
        events: `keys.event_digest` of the events from which its stream can be resumed.
    """
    keys = caller_keys(application.caller)
    return Command(DEFER, (keys.holds, keys.requests), (application.call_id, context, *events))


def sweep(keys: AccountKeys) -> Command:
    """Resolve holds of one account whose owner died; answers how many, `EXPIRED_AT_ONCE` at most."""
    return Command(SWEEP, keys.money)


# --- encoding ----------------------------------------------------------------------------------

_PRICE_WORDS: Final = 5
_DEPTHS: Final = {Depth.CONSENT: 0, Depth.PLAN: 1, Depth.PRICE: 2}


def _encode_demands(demands: Sequence[Demand]) -> bytes:
    return orjson.dumps([(d.kind.value, d.name, d.reserve, d.fixed, d.items, d.each) for d in demands])


_encoded: dict[int, tuple[Terms, tuple[Argument, ...], tuple[Argument, ...]]] = {}
_ENCODED_MOST: Final = 4096


def _encode_terms(application: Application) -> tuple[Argument, ...]:
    # Terms are compiled once per operation and sent with every call; keeping them keeps their id theirs.
    terms = application.terms
    known = _encoded.get(id(terms))
    if known is None:
        known = _remember_terms(terms)
    return (*known[1], application.request or "", *known[2])


def _remember_terms(terms: Terms) -> tuple[Terms, tuple[Argument, ...], tuple[Argument, ...]]:
    if len(_encoded) >= _ENCODED_MOST:  # reloads made new ones
        _encoded.clear()
    head: tuple[Argument, ...] = (
        terms.consent.value,
        terms.default_plan or "",
        orjson.dumps(terms.scopes) if terms.scopes else b"",
    )
    tail: tuple[Argument, ...] = (-1, _encode_plan(terms.base))
    if terms.plans is not None:
        pairs = [word for name, plan in terms.plans.items() for word in (name, _encode_plan(plan))]
        tail = (len(terms.plans), *pairs)
    _encoded[id(terms)] = made = (terms, head, tail)
    return made


def _encode_plan(plan: PlanTerms) -> bytes:
    quotas = {name: dict(limits) for name, limits in plan.quotas.items()}
    return orjson.dumps({"allowed": plan.allowed, "quotas": quotas, "credits": dict(plan.credits)})
