"""Scripts of the store, and the commands and replies of calls.

Nothing here talks to a store; this module implements `command.Scripts` for `store.Store`. Scripts of calls are
idempotent on the call id. Commands for accounts are in `changes`, those for sessions and tasks in `bindings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from sidecar.approval import ApprovalUse
from sidecar.bulk_strings import EncodedWords, bulk, encode_words
from sidecar.model import AdmissionCode, AdmissionReply, AmountKind, Application, Demand, Depth, OnUnknown, Price
from sidecar.outcome import Charge, Receipt, Resolution
from sidecar.store.commands.command import Command, EncodedCommand, text
from sidecar.store.commands.keys import AccountKeys, CallerWords, caller_keys, caller_words
from sidecar.store.commands.shipped import ADMIT, ALL_SCRIPTS, DEFER, RESOLVE, SWEEP
from sidecar.window_rules import WINDOWS

scripts: Final = ALL_SCRIPTS  # of the interface


# --- calls -------------------------------------------------------------------------------------


def admit(application: Application) -> Command:
    """Run gates 5-7 and reserve, or only examine the call (`dry_run`)."""
    caller, terms, claim = application.caller, application.terms.encoded, application.approval
    issuer, account, subject, client = caller.issuer_id, caller.account, caller.subject, caller.client_id
    call_id = application.call_id.encode()
    owner, on_unknown, lease = application.owner, application.on_unknown, application.lease
    dry_run, depth, size = application.dry_run, application.depth, len(call_id)
    if application.session is None and not application.tasks and claim is None and application.request is None:
        key, start, middle, end = _usual_words(
            issuer, account, subject, client, terms.count, size, owner, on_unknown, lease, dry_run, depth
        )
        usual = start, call_id, middle, call_id, _encode_demands(application.demands), end, terms.packed
        return EncodedCommand(ADMIT, key, b"".join(usual))
    words = caller_words(issuer, account, subject, client)
    conditions = _encode_conditions(owner, on_unknown, lease, dry_run, depth, application.session is not None)
    claimed = _NO_WORDS if claim is None else _claim(claim)
    start, middle = _around_ids(words, terms.count + claimed.count, size, _bound(application))
    packed = (
        start, call_id, middle, call_id, _encode_demands(application.demands), conditions,
        _EMPTY if application.request is None else bulk(application.request), terms.packed, claimed.packed,
    )  # fmt: skip
    return EncodedCommand(ADMIT, words.key, b"".join(packed))


@lru_cache(4096)
def _usual_words(
    issuer: str, account: str, subject: str, client: str, count: int, size: int,
    owner: str, on_unknown: OnUnknown, lease: int, dry_run: bool, depth: Depth,
) -> tuple[str, bytes, bytes, bytes]:  # fmt: skip
    """Return the words of calls without session, tasks and approval: a key, and the three parts of `admit`."""
    words = caller_words(issuer, account, subject, client)
    conditions = _encode_conditions(owner, on_unknown, lease, dry_run, depth, False)
    return words.key, *_around_ids(words, count, size, _NO_WORDS), conditions + _EMPTY


def _around_ids(words: CallerWords, further: int, size: int, bound: EncodedWords) -> tuple[bytes, bytes]:
    """Return the words before the first id of a call, and those between it and the second.

    Args:
        words: of the caller.
        further: number of the words of terms and approval.
        size: length of the id.
        bound: the keys that are bound to the caller.
    """
    keys = 11 + bound.count
    start = b"*%d\r\n%b%b%b$%d\r\n%b" % (
        3 + keys + 13 + further, ADMIT.head, bulk(keys), words.admission, words.outcome_size + size, words.outcome,
    )  # fmt: skip
    return start, b"\r\n%b%b$%d\r\n" % (bound.packed, words.arguments, size)


def _bound(application: Application) -> EncodedWords:
    """Return the keys that must be bound to the caller, the session, then the tasks; and the list of approvals."""
    keys = caller_keys(application.caller)
    session = () if application.session is None else (keys.session(application.session),)
    approvals = () if application.approval is None else (keys.approvals,)
    return encode_words(*session, *map(keys.task, application.tasks), *approvals)


def _claim(use: ApprovalUse) -> EncodedWords:
    return encode_words(use.handle or "", use.tool, use.arguments, use.rule, int(use.accepted))


def admitted(application: Application, reply: Any) -> AdmissionReply:
    """Read the reply of `admit`."""
    prices: tuple[Price, ...] = ()
    end, size = 6, len(reply)
    code, plan, scopes, since, refused, held = reply if size == 6 else reply[:6]
    if size > 6:
        found = []
        for demand in application.demands:
            if size < end + 5:
                break
            needed, left, limit, window, rest = reply[end : end + 5]
            found.append(Price(demand.kind, demand.name, needed, left, limit, window and WINDOWS[window - 1], rest))
            end += 5
        prices = tuple(found)
    listed = None if scopes is None else frozenset(text(scopes).split())
    answer, named = _CODES[code], None if plan is None else _TEXTS[plan]
    if size == end:
        return AdmissionReply(answer, named, listed, since, prices, refused, held == 1)
    further = map(_nullable, reply[end:])
    return AdmissionReply(answer, named, listed, since, prices, refused, held == 1, *further)


def _nullable(word: Any) -> str | None:
    return None if word is None else text(word)


def settle(application: Application, charges: Sequence[Charge] | None) -> Command:
    """Charge an admitted application.

    Args:
        application: the admitted application.
        charges: charge per demand, in order; a missing one, or None for all, charges the reserve.
    """
    if not charges:
        return _resolve(application, _SETTLED, True, b"[]")
    costs = [False if each.unmarked else each.amount if each.items is None else each.items for each in charges]
    return _resolve(application, _SETTLED, True, orjson.dumps(costs))


def release(application: Application, *, forwarded: bool = False) -> Command:
    """Return the units that an application reserved, and reject its admission if that arrives late.

    Args:
        application: the application given to `admit`.
        forwarded: whether the call was sent to the backend: then fixed amounts stay charged, and its approval is used.
    """
    claim = application.approval
    if claim is None or forwarded:
        return _resolve(application, Resolution.RELEASED, forwarded, b"[]")
    keys, call_id = caller_keys(application.caller), application.call_id
    words = (call_id, Resolution.RELEASED, 0, application.lease, "[]", claim.handle or "")
    return Command(RESOLVE, (*keys.money, keys.outcome(call_id), keys.approvals), words)


def _resolve(application: Application, how: Resolution, forwarded: bool, costs: bytes) -> Command:
    caller = application.caller
    words = caller_words(caller.issuer_id, caller.account, caller.subject, caller.client_id)
    call_id = application.call_id.encode()
    size = len(call_id)
    packed = b"%b%b$%d\r\n%b%b\r\n$%d\r\n%b\r\n%b$%d\r\n%b\r\n" % (
        _RESOLVE_HEAD, words.ledger, words.outcome_size + size, words.outcome, call_id, size, call_id,
        _encode_resolution(how, forwarded, application.lease), len(costs), costs,
    )  # fmt: skip
    return EncodedCommand(RESOLVE, words.key, packed)


def receipt(reply: Any) -> Receipt:
    """Read the reply of `settle` and `release`."""
    if reply[0]:
        return Receipt(late=True)
    paid: dict[str, int] = {}
    used: dict[str, int] = {}
    for place in range(1, len(reply), 3):
        total, name = paid if reply[place] in _CREDIT else used, _TEXTS[reply[place + 1]]
        units = int(reply[place + 2])
        total[name] = total[name] + units if name in total else units
    return Receipt(paid, used)


def defer(application: Application, context: bytes, events: Sequence[str] = ()) -> Command:
    """Keep the hold of an admitted application open for a response on another stream; the reply is 0 without a hold.

    Args:
        application: the admitted application.
        context: pricing context of the response (`deferral.write`).
        events: `keys.event_digest` of the events from which the stream can be resumed.
    """
    keys = caller_keys(application.caller)
    return Command(DEFER, (keys.holds, keys.requests), (application.call_id, context, *events))


def sweep(keys: AccountKeys) -> Command:
    """Resolve expired holds of one account; the reply is their number, at most `EXPIRY_BATCH`."""
    return Command(SWEEP, keys.money)


# --- encoding ----------------------------------------------------------------------------------


class _Texts(dict[Any, str]):
    """Texts of the names in replies, which are few: looking one up calls nothing."""

    def __missing__(self, word: Any) -> str:
        found = text(word)
        if len(found) <= _MAX_TEXT:  # of the policy; a plan's name may be another program's
            if len(self) >= _MAX_TEXTS:
                self.clear()
            self[word] = found
        return found


_SETTLED: Final = Resolution.SETTLED  # as an attribute of its class it takes ten times as long
_MAX_TEXTS: Final = 4_096
_MAX_TEXT: Final = 128
_TEXTS: Final = _Texts()
_CODES: Final = tuple(AdmissionCode)
_DEPTHS: Final = {Depth.CONSENT: 0, Depth.PLAN: 1, Depth.PRICE: 2}
_CREDIT: Final = frozenset({AmountKind.CREDIT.value.encode(), AmountKind.CREDIT.value})
_EMPTY: Final = bulk("")
_NO_DEMANDS: Final = b"\r\n" + _EMPTY
_NO_WORDS: Final = encode_words()
_RESOLVE_HEAD: Final = b"*15\r\n" + RESOLVE.head + bulk(7)


def _encode_demands(demands: Sequence[Demand]) -> bytes:
    """Return the end of the id and the demands for `admit.lua`: without the last members, where they are usual."""
    if not demands:
        return _NO_DEMANDS
    shown = tuple(
        [
            (d.kind.value, d.name, d.reserve)  # of a member of an enum, orjson looks the value up itself
            if d.items is None and d.shadow is None and not d.fixed
            else (d.kind.value, d.name, d.reserve, d.fixed, d.items, d.each, d.shadow is not None)
            for d in demands
        ]
    )
    for demand in demands:
        if demand.items is not None:  # a list of its own for almost each call
            return _after_id(shown)
    return _after_usual_id(shown)


def _after_id(shown: tuple[tuple[object, ...], ...]) -> bytes:
    raw = orjson.dumps(shown)
    return b"\r\n$%d\r\n%b\r\n" % (len(raw), raw)


_after_usual_id = lru_cache(1024)(_after_id)


@lru_cache(1024)
def _encode_conditions(
    owner: str, on_unknown: OnUnknown, lease: int, dry_run: bool, depth: Depth, with_session: bool
) -> bytes:
    """Return the arguments that many calls share."""
    return encode_words(owner, on_unknown.value, lease, int(dry_run), _DEPTHS[depth], int(with_session)).packed


@lru_cache(1024)
def _encode_resolution(how: Resolution, forwarded: bool, lease: int) -> bytes:
    return encode_words(how.value, int(forwarded), lease).packed
