"""Strict decoding of an account's stored records: the model of `lua/checked.lua` and `lua/hold.lua`.

Pure. Other programs and operators write these records too, so a value that does not match the layout is reported and
never guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha1
from typing import Any, Final

from sidecar.ledger.accounts import AccountState, Consent, HeldAmount, Hold
from sidecar.ledger.windows import Counter
from sidecar.model import MAX_AMOUNT, MAX_AMOUNTS_PER_HOLD, AmountKind, OnUnknown
from sidecar.window_rules import WINDOWS, Window

MAX_EVENTS: Final = 1000
"""Most events of one hold."""

MAX_AT_DIGITS: Final = 12
"""Most digits of whole seconds since the epoch, in a record that other programs may write."""

_UNLIMITED: Final = "unlimited"
_DIGITS: Final = re.compile("[0-9]+")


class UnreadableError(ValueError):
    """Stored value that does not match the layout; the message names key and field, never the value."""


def parse_limit(text: str) -> int | None:
    """Return an account's own limit; an unreadable one is 0, which allows nothing."""
    if text == _UNLIMITED:
        return None
    try:
        return _stored_amount(text, "limit")
    except UnreadableError:
        return 0


def parse_overrides(account: Mapping[str, str]) -> dict[tuple[str, Window], int | None]:
    """Return an account's own limits per (quota, window); None is no limit.

    An unknown window is ignored, as in `lua/own_limits.lua`.
    """
    found = {}
    for name, text in account.items():
        quota, _, window = name.removeprefix("quota:").rpartition(":")
        if name.startswith("quota:") and window in WINDOWS:
            found[quota, window] = parse_limit(text)
    return found


def parse_consent(record: Mapping[str, str]) -> Consent | None:
    """Return a consent; None without a record."""
    if not record:
        return None
    scopes = frozenset(record["scopes"].split()) if "scopes" in record else None
    return Consent(record.get("status") == "granted", parse_at(record.get("at")), scopes)


def parse_at(text: str | None) -> int | None:
    """Return a record's `at` in milliseconds; None unless it is a plain number of seconds within `MAX_AT_DIGITS`."""
    whole, _, fraction = (text or "").partition(".")
    if not (whole.isascii() and whole.isdigit()) or (fraction and not (fraction.isascii() and fraction.isdigit())):
        return None
    digits = whole.lstrip("0") or "0"
    return int(digits) * 1000 + int((fraction + "000")[:3]) if len(digits) <= MAX_AT_DIGITS else None


def record_version(record: Mapping[bytes, bytes]) -> str:
    """Return the version of a record: it changes with every field; the model of `lua/version.lua`."""
    parts = (b"%d:%b%b" % (len(name), name, value) for name, value in record.items())
    return _sha1("".join(sorted(map(_sha1, parts))).encode())


def _sha1(data: bytes) -> str:
    return sha1(data, usedforsecurity=False).hexdigest()


def parse(
    account: Mapping[str, str], ledger: Mapping[str, str], holds: Mapping[str, str], leases: Mapping[str, int]
) -> AccountState:
    """Decode the reply of `lua/inspect.lua`: the account without its consents, sessions and paid items.

    Calls with unreadable holds are listed in `unreadable`: nothing resolves those holds, and they block nothing.

    Raises:
        UnreadableError: a balance or counter is unreadable; the scripts reject it as well.
    """
    state = AccountState(
        plan=account.get("plan") or None,
        active=account.get("status", "active") == "active",
        overrides=parse_overrides(account),
    )
    for name, text in ledger.items():
        kind, _, rest = name.partition(":")
        if kind == "balance":
            state.balances[rest] = _stored_amount(text, f"ledger {name}")
        elif kind == "total":
            state.totals[rest] = _stored_amount(text.removeprefix("-"), f"ledger {name}") * (
                -1 if text[0] == "-" else 1
            )
        elif kind in ("quota", "included"):  # `journal` reads the remaining fields
            subject, _, window = rest.rpartition(":")
            number, colon, count = text.partition(":")
            if not colon or not _DIGITS.fullmatch(number):
                raise UnreadableError(f"ledger {name} is not a counter, WINDOW:USED")
            counters = state.quotas if kind == "quota" else state.included
            counters[subject, window] = Counter(int(number[-20:]), _stored_amount(count, f"ledger {name}"))
    for call_id, text in holds.items():
        try:
            state.holds[call_id] = parse_hold(text, leases.get(call_id, 0))
        except UnreadableError:
            state.unreadable.append(call_id)
    return state


def _stored_amount(text: Any, place: str) -> int:
    """Return an amount, read as `lua/checked.lua` does.

    Raises:
        UnreadableError: the value is not an amount.
    """
    if isinstance(text, str) and _DIGITS.fullmatch(text):
        digits = text.lstrip("0") or "0"
        if len(digits) <= len(str(MAX_AMOUNT)) and int(digits) <= MAX_AMOUNT:
            return int(digits)
    raise UnreadableError(f"{place} is not an integer from 0 to {MAX_AMOUNT}")


def parse_hold(text: str, until: int) -> Hold:
    """Return a stored hold; `lua/hold.lua` accepts the same documents.

    Args:
        text: the document.
        until: end of its lease, in milliseconds since the epoch.

    Raises:
        UnreadableError: the document is not a hold.
    """
    try:
        document = json.loads(text)
        return _hold(document, until)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise UnreadableError("it is not a hold") from None


def _hold(document: Mapping[str, Any], until: int) -> Hold:
    amounts = document["amounts"]
    if not isinstance(amounts, list) or not 0 < len(amounts) <= MAX_AMOUNTS_PER_HOLD:
        raise UnreadableError("amounts")
    return Hold(
        owner=_text(document["owner"]),
        client_id=_text(document["client"]),
        on_unknown=OnUnknown(document["on_unknown"]),
        until=until,
        amounts=tuple(map(_amount, amounts)),
        request=_text(document["request"]) if "request" in document else None,
        deferred=_text(document["deferred"]) if "deferred" in document else None,
        events=_texts(document.get("events", []), MAX_EVENTS),
        tool=_text(document["tool"]) if "tool" in document else None,
        subject=_text(document["subject"]) if "subject" in document else None,
    )


def _amount(document: Mapping[str, Any]) -> HeldAmount:
    kind, fixed, windows = AmountKind(document["kind"]), document.get("fixed", False), document["windows"]
    reserved = _stored_amount(document["reserved"], "reserved")
    balance = _stored_amount(document["balance"], "balance") if kind is AmountKind.CREDIT else 0
    if not isinstance(fixed, bool) or balance > reserved:
        raise UnreadableError("amount")
    if windows == []:  # to Lua the same as {}
        windows = {}
    numbers = {_window(window): _stored_amount(number, window) for window, number in windows.items()}
    items, each = None, 1
    if "items" in document:
        items, each = _texts(document["items"]), _stored_amount(document["each"], "each")
        if len(items) * each != reserved:
            raise UnreadableError("items")
    return HeldAmount(kind, _text(document["name"]), reserved, fixed, numbers, balance, items, each)


def _window(name: str) -> Window:
    if name not in WINDOWS:
        raise UnreadableError("window")
    return name


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UnreadableError("text")
    return value


def _texts(value: Any, most: int | None = None) -> tuple[str, ...]:
    if not isinstance(value, list) and value != {}:  # Lua writes an empty list as {}
        raise UnreadableError("texts")
    if most is not None and len(value) > most:
        raise UnreadableError("texts")
    return tuple(map(_text, value))
