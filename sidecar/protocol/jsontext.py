"""Where the members of objects stand in a JSON text that is known to be valid.

For changes to a text that must leave all the rest of it as it is, down to how its numbers are spelt. Not by
recursion, and in one pass of the regular expression engine for most of a text: backends may send what is
large, and nest as deep as they like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

BLANKS: Final = re.compile(r"[ \t\n\r]*+")
_SCALAR: Final = re.compile(r"[^,\]} \t\n\r]++")
_STRING: Final = re.compile(r'"[^"]*+"')
_GAP: Final = r'[^"\[\]{}]*+'


def _run(levels: int) -> str:
    """What may stand between two brackets, containers that are themselves no deeper than this among it."""
    within = _run(levels - 1) if levels else ""
    container = rf"|\{{{within}\}}|\[{within}\]" if levels else ""
    return rf'{_GAP}(?:(?:"[^"]*+"{container}){_GAP})*+'


# All up to a bracket that opens or ends something deeper: rows and lists of words are passed over in one step,
# however many there are. Possessive, so that nothing is looked at more than once a level.
_RUN: Final = re.compile(_run(4))


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One member of an object: its name, unescaped, and where it, and its value, begin and end."""

    name: str
    start: int
    value: int
    end: int


class JsonText:
    """One text.

    Args:
        text: valid JSON; for anything else a `ValueError` may come, or nonsense.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        # Backslashes come in pairs, or before what they escape: without both, a string ends at the next quote.
        self._plain = text.replace("\\\\", "..").replace('\\"', "..")

    def members(self, at: int) -> Iterator[Member]:
        """The members of the object whose brace is there, in their order; of names given twice both."""
        plain = self._plain
        at = past(BLANKS, plain, at + 1)
        while plain[at] != "}":
            named = past(_STRING, plain, at)
            value = past(BLANKS, plain, past(BLANKS, plain, named) + 1)
            end = self._value_end(value)
            yield Member(_unescaped(self.text[at:named]), at, value, end)
            at = past(BLANKS, plain, end)
            if plain[at] == ",":
                at = past(BLANKS, plain, at + 1)

    def _value_end(self, at: int) -> int:
        plain = self._plain
        if plain[at] not in "{[":
            return past(_STRING if plain[at] == '"' else _SCALAR, plain, at)
        depth, at = 1, at + 1
        while depth:
            at = past(_RUN, plain, at)
            depth += 1 if plain[at] in "{[" else -1
            at += 1
        return at


def _unescaped(string: str) -> str:
    return str(json.loads(string)) if "\\" in string else string[1:-1]


def past(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where what begins there, and is of this pattern, ends.

    Raises:
        ValueError: nothing of this pattern begins there.
    """
    match = pattern.match(text, at)
    if match is None:
        raise ValueError("this is not valid JSON")
    return match.end()
