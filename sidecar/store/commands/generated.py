"""Lists shared by Python and the scripts, as Lua: each replaces the line `-- generate NAME` of a script.

Each list is written once, in Python. A name without an entry here fails when the scripts are loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum, StrEnum
from typing import Final

from sidecar.ledger.approval_records import APPROVAL_LIFE, MAX_PENDING
from sidecar.ledger.decoding import MAX_AT_DIGITS, MAX_EVENTS
from sidecar.ledger.settlement import EXPIRY_BATCH, MAX_FOLLOWED_EVENTS
from sidecar.model import MAX_AMOUNT, MAX_AMOUNTS_PER_HOLD, AdmissionCode, AmountKind, OnUnknown
from sidecar.outcome import Resolution
from sidecar.store.commands.command import ChangeCode
from sidecar.window_rules import WINDOW_RULES


def _windows() -> list[str]:
    """Return the kinds of windows in their order, and the rule of each: seconds, begins, months."""
    names = ", ".join(f"'{name}'" for name in WINDOW_RULES)
    rules = (
        f"  if name == '{name}' then return {rule.seconds}, {rule.begins}, {rule.months} end"
        for name, rule in WINDOW_RULES.items()
    )
    head = "local function window_rule(name) -- seconds, begins, months"
    return [f"local WINDOWS = {{{names}}}", head, *rules, "end"]


def _codes(codes: type[IntEnum]) -> list[str]:
    """Return one local per code, in two lines of Lua."""
    return [f"local {', '.join(code.name for code in codes)}", f"  = {', '.join(str(code.value) for code in codes)}"]


def _words(name: str, words: Iterable[StrEnum]) -> list[str]:
    """Return the test of the words that a field accepts; a function, because a table would be made in every run."""
    tests = " or ".join(f"word == '{word.value}'" for word in words)
    return [f"local function {name}(word) return {tests} end"]


def _names(words: type[StrEnum]) -> list[str]:
    """Return one local per word."""
    quoted = ", ".join(f"'{word.value}'" for word in words)
    return [f"local {', '.join(word.name for word in words)} = {quoted}"]


def _number(name: str, value: int) -> list[str]:
    return [f"local {name} = {value}"]


LISTS: Final[Mapping[str, list[str]]] = {
    "WINDOWS": _windows(),
    "AdmissionCode": _codes(AdmissionCode),
    "ChangeCode": _codes(ChangeCode),
    "AmountKind": _words("is_kind", AmountKind),
    "OnUnknown": _words("is_on_unknown", OnUnknown),
    "Resolution": _names(Resolution),
    "MAX_AMOUNT": [*_number("MAX", MAX_AMOUNT), f"local AN_AMOUNT = 'an integer from 0 to {MAX_AMOUNT}'"],
    "MAX_AMOUNTS_PER_HOLD": _number("MAX_AMOUNTS_PER_HOLD", MAX_AMOUNTS_PER_HOLD),
    "APPROVAL_LIFE": _number("APPROVAL_LIFE", APPROVAL_LIFE),
    "MAX_PENDING": _number("MAX_PENDING", MAX_PENDING),
    "MAX_EVENTS": _number("MAX_EVENTS", MAX_EVENTS),
    "EXPIRY_BATCH": _number("EXPIRY_BATCH", EXPIRY_BATCH),
    "MAX_FOLLOWED_EVENTS": _number("MAX_FOLLOWED_EVENTS", MAX_FOLLOWED_EVENTS),
    "MAX_AT_DIGITS": _number("MAX_AT_DIGITS", MAX_AT_DIGITS),
}
"""Lines of Lua by name."""
