"""Positions of members in a JSON text that is known to be valid.

For edits that must leave the rest of the text unchanged, including the spelling of numbers. The text was parsed
before, so its depth is bounded; Python's C decoder skips the values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

BLANKS: Final = re.compile(r"[ \t\n\r]*+")
_NAME: Final = re.compile(r'("[^"]*+")[ \t\n\r]*+:[ \t\n\r]*+')
# A string, number, word, or flat container, in a text without escaped quotes: they have been replaced.
_FLAT: Final = re.compile(
    r'"[^"]*+"|[^"\[{,\]} \t\n\r]++|\{(?:[^"\[\]{}]++|"[^"]*+")*+\}|\[(?:[^"\[\]{}]++|"[^"]*+")*+\]'
)
_NEXT: Final = re.compile(r"[ \t\n\r]*+,?[ \t\n\r]*+")
# Numbers stay text: one of them may be too long for every type.
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str, strict=False)


class Member(NamedTuple):
    """One member of an object: its unescaped name, where it starts, and where its value starts and ends."""

    name: str
    start: int
    value: int
    end: int


class JsonText:
    """A JSON text.

    Args:
        text: valid JSON; other text gives a `ValueError` or a wrong result.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        # Backslashes come in pairs, or before the character that they escape: without both, a quote ends a string.
        self._plain = text.replace("\\\\", "..").replace('\\"', "..")

    def members(self, at: int) -> Iterator[Member]:
        """Yield the members of the object that starts at a position, in order, including repeated names."""
        text, plain = self.text, self._plain
        escaped = "\\" in text
        at = past(BLANKS, plain, at + 1)
        while plain[at] != "}":
            name = _NAME.match(plain, at)
            if name is None:
                raise _invalid()
            value, named = name.end(), text[at + 1 : name.end(1) - 1]
            flat = _FLAT.match(plain, value)
            end = self._container_end(value) if flat is None else flat.end()
            yield Member(_unescaped(named) if escaped and "\\" in named else named, at, value, end)
            at = past(_NEXT, plain, end)

    def _container_end(self, at: int) -> int:
        _, end = _DECODER.raw_decode(self.text, at)
        return end


def _unescaped(string: str) -> str:
    return str(json.loads(f'"{string}"'))


def past(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return the end of the pattern's match at a position.

    Raises:
        ValueError: the pattern does not match there.
    """
    match = pattern.match(text, at)
    if match is None:
        raise _invalid()
    return match.end()


def _invalid() -> ValueError:
    return ValueError("this is not valid JSON")
