"""Suggestion of the declared name that a misspelt one resembles, and lists of accepted names. Both are bounded."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Final

_SIMILAR: Final = 0.7
# The comparison takes quadratic time in the length of two names.
_MAX_LENGTH: Final = 64
_MAX_NAMES: Final = 500
_MAX_LISTED: Final = 30


def nearest(word: str, names: Iterable[str]) -> str:
    """Return the name that a word resembles; empty when none is similar.

    Names beyond the first 500, and words and names of more than 64 characters, are not compared.
    """
    if len(word) > _MAX_LENGTH:
        return ""
    folded: dict[str, str] = {}
    for name in islice(names, _MAX_NAMES):
        if len(name) <= _MAX_LENGTH and name != word:
            folded.setdefault(_folded(name), name)
    found = get_close_matches(_folded(word), folded, n=1, cutoff=_SIMILAR)
    return folded[found[0]] if found else ""


def listed(names: Iterable[str], otherwise: str = "none") -> str:
    """Return the first thirty names in one line, and the number of the others."""
    known = list(names)
    more = len(known) - _MAX_LISTED
    text = ", ".join(known[:_MAX_LISTED])
    return f"{text} and {more} more" if more > 0 else text or otherwise


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")
