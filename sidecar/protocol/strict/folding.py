"""Names as a lenient reader may read them, and limits that keep the comparison linear in time.

Unicode normalization sorts combining marks by insertion, so a long unsorted run of them takes quadratic time: 60 KB
of marks take seconds. UAX #15 (section 13, Stream-Safe Text Format) gives the limit, which real text never
reaches. Check a caller's text with `fault` or `has_excess_marks` before anything normalizes it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

MAX_NAME: Final = 1024
"""Bytes of a name in UTF-8: the key of an object, or a method."""
MAX_MARKS: Final = 30
"""Combining marks in a row (UAX #15, Stream-Safe Text Format)."""

# Every mark is in these ranges, except for five characters that decompose into marks only.
_BMP: Final = range(0x300, 0x10000)
_ASTRAL: Final = range(0x10000, 0x1F000)
_DISGUISED_MARKS: Final = "\u0f73\u0f75\u0f81\uff9e\uff9f"


def _marks(within: Iterable[int]) -> str:
    return "".join(filter(unicodedata.combining, map(chr, within)))


def _run(mark: str) -> re.Pattern[str]:
    # Counted from the start of a run only, so that no character is read once for every mark before it.
    return re.compile(rf"{mark}(?<!{mark}{mark}){mark}{{{MAX_MARKS}}}")


_BMP_MARKS: Final = _marks(_BMP) + _DISGUISED_MARKS
# Sets beyond the BMP are searched range by range: one range for all of them finds the candidates.
_LIKELY: Final = _run(f"[{_BMP_MARKS}{chr(_ASTRAL[0])}-{chr(_ASTRAL[-1])}]")
_MARK: Final = "\u0301"
_AS_ONE_MARK: Final = dict.fromkeys(map(ord, _BMP_MARKS + _marks(_ASTRAL)), _MARK)
_EXCESS_RUN: Final = _MARK * (MAX_MARKS + 1)


def fold(text: str) -> str:
    """Return one spelling for all texts that a lenient reader may confuse: equal under NFKC and case folding.

    The spelling is decomposed, so it is never shorter than the text: a name that is longer than each folded name
    it is compared with need not be folded. A text with `has_excess_marks` takes quadratic time.
    """
    return text.lower() if text.isascii() else _decomposed(_decomposed(text).casefold())


def fault(name: str) -> str | None:
    """Return the reason to refuse a name, as a predicate that does not quote it; None when it can be folded."""
    if name.isascii():
        return _TOO_LONG if len(name) > MAX_NAME else None
    # The characters first: a long name is refused without encoding it.
    if len(name) > MAX_NAME or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        return _TOO_LONG
    return _EXCESS_MARKS if has_excess_marks(name) else None


def has_excess_marks(text: str) -> bool:
    """Return whether a text has more than `MAX_MARKS` combining marks in a row, in linear time."""
    if text.isascii():
        return False
    return _LIKELY.search(text) is not None and _EXCESS_RUN in text.translate(_AS_ONE_MARK)


def _decomposed(text: str) -> str:
    return unicodedata.normalize("NFKD", text)


_TOO_LONG: Final = f"is longer than {MAX_NAME} bytes"
_EXCESS_MARKS: Final = f"has more than {MAX_MARKS} combining marks in a row"
