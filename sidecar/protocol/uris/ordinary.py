"""Readings of ordinary URIs in a few steps: a list of the backend has thousands of short ones.

A URI is ordinary when one encoding at most is to be removed and no character looks or folds like a delimiter. The
complete rules (`uris`) cost ten times as long. They decide about every other URI, and tests compare the two.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Iterable
from itertools import chain
from typing import Final, NamedTuple
from unicodedata import category, decomposition, normalize
from urllib.parse import unquote_to_bytes

from sidecar.protocol.strict.folding import MAX_MARKS, has_excess_marks

LONGEST: Final = 8192
"""Characters of the longest URI: longer than any header that mirrors it can be."""
WRITTEN_OUT: Final = 2 * LONGEST
"""Characters after decomposition; one character may expand to 18."""

_SHORT: Final = 256  # characters whose marks are sorted in no time

# Slashes that no normalization folds but some file systems and fonts do; control characters beyond ASCII.
CONFUSABLES: Final = re.compile("[\u2044\u2215\u2216\u29f5\u29f8\u29f9\x80-\x9f\u2028\u2029\ud800-\udfff]")
STRAY: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Encoded control characters, dots, slashes and backslashes.
HIDDEN: Final = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff]|2[EeFf]|5[Cc])")
AUTHORITY: Final = re.compile(r"[^/?#]*//([^/?#]*)")
DOT_SEGMENT: Final = re.compile(r"(?:^|[/?#;:=&]) *+\.{1,2} *+(?:\Z|[/?#;:=&])")
REPEATED: Final = re.compile(r"(?<!:)/{2,}")
QUERY: Final = re.compile(r"[?#]")
PARAMETERS: Final = re.compile(r";[^/]*")
# Default ports of schemes; and characters that resolvers and some file systems drop at the end of a name.
USUAL_PORT: Final = re.compile(r"^([a-z][a-z0-9+.-]*://[^/]*?):(?:80|443)?(?=/|$)")
TRAILING: Final = re.compile(r"(?<![. ])[. ]++(?=/|$)")  # anchored at the start of a run, so each run is read once

_REFUSED: Final = frozenset("/\\.%")
_READ: Final = chain(range(0x80, 0x10000), range(0x10000, 0x20000))
_IDEOGRAPHS: Final = "\U00020000-\U0002a6dd"  # assigned, and without decomposition


def _is_ordinary(character: str) -> bool:
    """Return True when a character is accepted wherever no delimiter is made of it by decomposition."""
    if not character.isprintable() or category(character) == "Cf" or CONFUSABLES.match(character):
        return False
    if not decomposition(character):  # also Hangul, which decomposes to letters
        return True
    parts = normalize("NFKD", character)
    return _REFUSED.isdisjoint(parts) and not any(category(part) == "Cf" or CONFUSABLES.match(part) for part in parts)


def _ranges(characters: Iterable[str]) -> str:
    """Return characters in ascending order as ranges of a regular expression."""
    runs: list[list[str]] = []
    for each in characters:
        if runs and ord(runs[-1][1]) + 1 == ord(each):
            runs[-1][1] = each
        else:
            runs.append([each, each])
    return "".join(chain.from_iterable((first, "-", last) for first, last in runs))


_LETTERS: Final = _ranges(filter(_is_ordinary, map(chr, _READ))) + _IDEOGRAPHS
# Printable ASCII except for a backslash.
_ORDINARY: Final = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*+:[ -\[\]-~{_LETTERS}]*+")
# A scheme, and escapes that encode no control character, dot, slash or backslash.
_ESCAPED: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*+:[^ %]*+"
    r"(?:%(?:2[0-9A-Da-d]|[346][0-9A-Fa-f]|5[0-9ABD-Fabd-f]|7[0-9A-Ea-e]|[89A-Fa-f][0-9A-Fa-f])[^ %]*+)++"
)
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_AFTER_DELIMITER: Final = re.compile(r"[/?#;:=& ]\.")

# URIs that are accepted and that all readings leave unchanged.
_SETTLED: Final = re.compile(
    r"[a-z][a-z0-9+.-]*+:(?://)?+[a-z0-9_~-]++(?:\.[a-z0-9_~-]++)*+(?:/[a-z0-9_~-]++(?:\.[a-z0-9_~-]++)*+)*+"
)


class Readings(NamedTuple):
    """Forms that lenient readers give a URI.

    Attributes:
        folded: decoded and folded.
        bare: `folded` without query, fragment and parameters.
        joined: `bare` without the empty segments that removing parameters leaves.
        open: `joined` without slashes at its end.
        loose: `open` without the redundant parts of names.
    """

    folded: str
    bare: str
    joined: str
    open: str
    loose: str


def is_settled(uri: str) -> bool:
    """Return True when one glance shows that a URI is accepted, and that all its readings are the URI itself."""
    return len(uri) <= LONGEST and _SETTLED.fullmatch(uri) is not None


def ordinary_readings(uri: str) -> Readings | None:
    """Return the readings of a URI that is accepted and ordinary; None if only the complete rules can tell.

    Raises:
        ValueError: the URI is refused; the complete rules give the reason.
    """
    if len(uri) > LONGEST or "#" in uri:
        return None
    text: str | None = uri
    if "%" in uri:
        text = _decoded(uri)
    elif " " in uri:
        return None
    if text is None or _ORDINARY.fullmatch(text) is None:
        return None
    last = text
    if not text.isascii():
        # A percent sign may get digits, so it would have to be decoded again.
        if "%" in text or (len(text) > _SHORT and has_excess_marks(text)):
            return None
        last = normalize("NFKD", text)
        # A scheme and its colon are no marks.
        if len(last) > WRITTEN_OUT or (len(last) > MAX_MARKS + 2 and has_excess_marks(last)):
            return None
    # Decoding and decomposition keep dots and delimiters, so the dot segments of the URI as sent are in the last form.
    if "." in last and _AFTER_DELIMITER.search(last) and DOT_SEGMENT.search(last):
        raise ValueError
    # They may add delimiters, which end an authority.
    if "@" in last and any(map(_names_user, (uri, text, last))):
        raise ValueError
    folded = last.lower() if last.isascii() else normalize("NFKD", last.casefold()).casefold()
    return _readings(_joined(folded))


def unquoted(text: str) -> str:
    """Return a text with one layer of percent-encoding removed.

    Raises:
        UnicodeDecodeError: it encodes invalid UTF-8.
    """
    # As a whole: `unquote` takes a text apart at every character beyond ASCII, at microseconds each.
    return _unquoted(text) if STRAY.search(text) is None else unquote_to_bytes(_encoded(text)).decode()


def _unquoted(text: str) -> str:
    # Quoted-printable is the same encoding with another sign, and its decoder is five times as fast.
    return a2b_qp(_encoded(text).replace(b"=", b"=3D").replace(b"%", b"=")).decode()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(uri: str) -> str | None:
    """Return a URI with two layers of escapes removed; None if there may be more.

    Raises:
        ValueError: see `ordinary_readings`.
    """
    if _ESCAPED.fullmatch(uri) is None:
        return None
    text = _unquoted(uri)
    if "%" not in text or _ESCAPE.search(text) is None:
        return text
    if HIDDEN.search(text):
        raise ValueError
    last = unquoted(text)
    return None if "%" in last and last != text else last


def _names_user(text: str) -> bool:
    authority = AUTHORITY.match(text)
    return authority is not None and "@" in authority[1]


def _joined(text: str) -> str:
    first = text.find("//")
    if first < 0 or (text[first - 1] == ":" and text.find("//", first + 1) < 0):
        return text
    return REPEATED.sub("/", text)


def _readings(folded: str) -> Readings:
    """Return the same as `uris.complete_readings`; most texts lack what the expressions there look for."""
    bare = joined = folded
    if "?" in folded or "#" in folded:
        bare = joined = QUERY.split(folded, maxsplit=1)[0]
    if ";" in bare:
        bare = PARAMETERS.sub("", bare)
        joined = _joined(bare)
    loose = _without_port(joined)
    if loose[-1] in ". ":
        loose = loose.rstrip(". ")
    if "./" in loose or " /" in loose:
        loose = TRAILING.sub("", loose)
    if loose is not joined:
        loose = _joined(loose)
    return Readings(folded, bare, joined, joined.rstrip("/"), loose)


def _without_port(text: str) -> str:
    start = text.find(":")
    if not text.startswith("://", start) or text.find(":", start + 3) < 0:
        return text
    end = text.find("/", start + 3)
    end = len(text) if end < 0 else end
    for port in (":80", ":443", ":"):
        if text.endswith(port, start + 3, end):
            return text[: end - len(port)] + text[end:]
    return text
