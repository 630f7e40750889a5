"""URIs that every reader resolves to the same resource; other URIs are refused.

A pattern of the policy is matched against the text of a URI, and the backend resolves that text by its own rules: it
may decode it once or twice, fold similar characters, remove dot segments (RFC 3986, section 5.2.4), or read a user
name as a host. A URI that two readers could resolve to two resources is refused before any pattern is matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import Final
from unicodedata import category, normalize

from sidecar.protocol.strict import folding
from sidecar.protocol.strict.folding import MAX_MARKS, has_excess_marks
from sidecar.protocol.uris.ordinary import (
    AUTHORITY,
    CONFUSABLES,
    DOT_SEGMENT,
    HIDDEN,
    LONGEST,
    PARAMETERS,
    QUERY,
    REPEATED,
    STRAY,
    TRAILING,
    USUAL_PORT,
    WRITTEN_OUT,
    Readings,
    ordinary_readings,
    unquoted,
)

MAX_LENGTH: Final = LONGEST
"""Characters of the longest URI."""

_LAYERS: Final = 5  # the URI as sent, and the results of decoding and folding it
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_SEPARATORS: Final = "/\\.%"
# Format characters; none is outside of these ranges. Sets beyond the BMP are searched range by range, so a coarse
# set of few ranges is tried first.
_BMP: Final = range(0x80, 0x10000)
_ASTRAL: Final = (range(0x11000, 0x20000), range(0xE0000, 0xE0100))


def _formats(codes: Iterable[int]) -> str:
    return "".join(each for each in map(chr, codes) if category(each) == "Cf")


_BMP_FORMATS: Final = _formats(_BMP)
_FORMATS_LIKELY: Final = re.compile(
    f"[{_BMP_FORMATS}{''.join(f'{chr(block[0])}-{chr(block[-1])}' for block in _ASTRAL)}]"
)
_FORMATS: Final = dict.fromkeys(map(ord, _BMP_FORMATS + _formats(chain(*_ASTRAL))))
_EXPRESSION: Final = re.compile(r"\{[^{}]*\}")


def fault(uri: str) -> str | None:
    """Return the reason why a URI is refused, as a sentence that does not quote it; None if it is accepted."""
    return complete_fault(uri) if _ordinary(uri) is None else None


def complete_fault(uri: str) -> str | None:
    """Return the same as `fault`, from the complete rules also for an ordinary URI."""
    wrong = _malformed(uri)
    if wrong is not None:
        return wrong
    try:
        return next(filter(None, map(_wrong, _stages(uri))), None)
    except UnicodeDecodeError:
        return "A URI must encode UTF-8."
    except _ExcessMarksError:
        return f"A URI must have at most {MAX_MARKS} combining marks in a row."
    except _TooDeepError:
        return "A URI must not be encoded several times, nor be much longer when decoded."


def _malformed(uri: str) -> str | None:
    """Return the fault of a URI as it was sent."""
    if not 0 < len(uri) <= MAX_LENGTH:
        return f"A URI must have between 1 and {MAX_LENGTH} characters."
    if not _SCHEME.match(uri):
        return "A URI must begin with its scheme."
    if " " in uri or not uri.isprintable():
        return "A URI must not contain spaces or control characters."
    if "#" in uri:
        return "The URI of a resource must not have a fragment."
    if STRAY.search(uri):
        return "A percent sign in a URI must be followed by two hexadecimal digits."
    return None


def fault_around(literals: Sequence[str]) -> str | None:
    """Return the fault of a pattern's or template's literal texts, whatever stands between them."""
    text = "x".join(literals)
    if len(literals) > 1 and ":" not in literals[0] and not _SCHEME.match(text):
        text = f"x:{text}"  # the scheme may be in the variable part
    return fault(text)


def template_literals(template: str) -> list[str]:
    """Return the texts of a URI template (RFC 6570) around its expressions."""
    return _EXPRESSION.split(template)


def fold(text: str) -> str:
    """Return the form that a lenient reader may give an acceptable URI, or a part of a pattern.

    Decoded, in one case, without invisible characters, and with repeated slashes as one.
    """
    # No acceptable URI has such a part.
    with suppress(UnicodeDecodeError, _ExcessMarksError, _TooDeepError):
        *_, text = _stages(text)
    if not text.isascii():
        text = _seen(text)
        text = text if has_excess_marks(text) else folding.fold(text)
    return _joined(text.casefold())


def readings(uri: str) -> Readings:
    """Return the forms that lenient readers give a URI, in increasing looseness."""
    ordinary = _ordinary(uri)
    return complete_readings(uri) if ordinary is None else ordinary


def complete_readings(uri: str) -> Readings:
    """Return the same as `readings`, from the complete rules also for an ordinary URI."""
    folded = fold(uri)
    bare = without_query(folded)
    joined = _joined(bare)
    loose = USUAL_PORT.sub(r"\1", joined)
    if "." in loose or " " in loose:
        loose = TRAILING.sub("", loose)
    loose = _joined(loose)
    return Readings(folded, bare, joined, joined.rstrip("/"), loose)


def without_query(folded: str) -> str:
    """Return a folded URI without its query, its fragment and the parameters of its segments."""
    path = QUERY.split(folded, maxsplit=1)[0]
    return PARAMETERS.sub("", path) if ";" in path else path


def _joined(text: str) -> str:
    return REPEATED.sub("/", text)


def _stages(text: str) -> Iterator[str]:
    """Yield a text as it stands, then after each layer of encoding that readers may remove, while it changes.

    Raises:
        UnicodeDecodeError: it encodes invalid UTF-8.
        _ExcessMarksError: it has too many marks in a row to be normalized.
        _TooDeepError: it has too many layers.
    """
    for _ in range(_LAYERS):
        yield text
        decoded = _next_layer(text)
        if decoded == text:
            return
        text = decoded
    raise _TooDeepError


# A URI is judged, then read: the readings and layers of the last ones are computed once for both.
@lru_cache(8)
def _ordinary(uri: str) -> Readings | None:
    with suppress(ValueError):
        return ordinary_readings(uri)
    return None


@lru_cache(8)
def _next_layer(text: str) -> str:
    """Return a text with one layer of encoding removed; the same text when it has none."""
    decoded = unquoted(text) if "%" in text else text
    if decoded == text and not text.isascii():
        decoded = _normal(text)
        if len(decoded) > WRITTEN_OUT:
            raise _TooDeepError
    return decoded


@lru_cache(8)
def _normal(text: str) -> str:
    return normalize("NFKD", _check_marks(text))


class _TooDeepError(ValueError):
    """Text in more layers of encoding than any client needs, or one that grows when they are removed."""


class _ExcessMarksError(ValueError):
    """Text with more combining marks in a row than can be normalized in linear time."""


def _check_marks(text: str) -> str:
    """Return the text, if it can be normalized in linear time."""
    if has_excess_marks(text):
        raise _ExcessMarksError
    return text


def _wrong(text: str) -> str | None:
    """Return the fault of a URI at one stage of its decoding.

    Raises:
        _ExcessMarksError: see `_stages`.
    """
    if not text.isascii():
        if _has_confusable(text):
            return "A URI must not contain characters that look like a dot, a slash or a percent sign."
        seen = _seen(text)
        text = text if seen is text else _check_marks(seen)
    if "\\" in text or HIDDEN.search(text):
        return "A URI must not contain backslashes, or encoded dots, slashes, backslashes or control characters."
    if DOT_SEGMENT.search(text):
        return "A URI must not contain dot segments."
    authority = AUTHORITY.match(text)
    if authority is not None and "@" in authority[1]:
        return "The URI of a resource must not name a user."
    return None


def _has_confusable(text: str) -> bool:
    """Return whether a character is, or folds to, one that separates the parts of a URI."""
    if CONFUSABLES.search(text):
        return True
    folded = _normal(text)
    return folded != text and any(folded.count(each) != text.count(each) for each in _SEPARATORS)


def _seen(text: str) -> str:
    """Return a text without format characters, which are invisible and dropped by some readers."""
    return text.translate(_FORMATS) if _FORMATS_LIKELY.search(text) else text
