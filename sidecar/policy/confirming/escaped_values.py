"""Argument values as text for the person that confirms a call: short, in one line, and never taken for other text.

The values are chosen by a model, perhaps on behalf of an attacker: a value must not end its quotes, begin a line, turn
the direction of the text, or become a link or markup in a client that renders Markdown or HTML.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final

MAX_VALUE: Final = 80
"""Most characters of one text that are shown."""
MAX_ESCAPED: Final = 120
"""Characters with escapes after which a text ends: a text of nothing else would hide what stands after it."""
MAX_SHOWN: Final = 5
"""Most elements of a list, or members of an object, that are shown."""

_MARKUP: Final = frozenset('<>[]`\\"')
# Controls, formats (direction of text), surrogates, private use, unassigned, line and paragraph separators.
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def shown_value(value: Any, depth: int = 1) -> str:
    """Return a JSON value as text; lists and objects within it are counted and not shown.

    Args:
        value: the value.
        depth: levels of lists and objects that are shown.
    """
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return _shown_list(value, depth)
    if isinstance(value, Mapping):
        return _shown_object(value, depth)
    return cut(str(value))


def quoted(text: str) -> str:
    """Return a text in quotes that nothing in it can end."""
    return f'"{escaped(text)}"'


def escaped(text: str) -> str:
    """Return the beginning of a text with everything escaped that could be read as something else."""
    shown, length = [], 0
    for number, character in enumerate(text):
        shown.append(_escaped(character))
        length += len(shown[-1])
        if number + 1 >= MAX_VALUE or length >= MAX_ESCAPED:
            return "".join(shown) + ("…" if len(text) > number + 1 else "")
    return "".join(shown)


def cut(text: str) -> str:
    """Return at most `MAX_VALUE` characters of a text."""
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}…"


def _escaped(character: str) -> str:
    if character in _MARKUP or unicodedata.category(character) in _INVISIBLE:
        number = ord(character)
        return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
    return " " if character.isspace() else character


def _shown_list(values: list[Any], depth: int) -> str:
    if not values:
        return "(none)"
    if not depth:
        return f"({len(values)} elements)"
    return _joined([shown_value(each, depth - 1) for each in values[:MAX_SHOWN]], len(values))


def _shown_object(members: Mapping[str, Any], depth: int) -> str:
    if not members:
        return "(empty)"
    if not depth:
        return f"({len(members)} members)"
    first = [name for name, _ in zip(members, range(MAX_SHOWN), strict=False)]
    return _joined([f"{quoted(name)}: {shown_value(members[name], depth - 1)}" for name in first], len(members))


def _joined(parts: Iterable[str], total: int) -> str:
    shown = list(parts)
    rest = total - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
