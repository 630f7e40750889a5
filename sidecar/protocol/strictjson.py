"""JSON that every parser reads alike, or none at all.

Parsers differ in what they make of repeated keys, keys in another case, broken UTF-8, numbers
beyond a double, and deep nesting; a caller who knows how can have one call judged and another
executed. Whatever two known parsers read differently is refused here (RFC 8259 calls most of it
"unpredictable", section 4 and 6), so that what was judged is what is executed.

Numbers have two faces: a plain value to judge, and the literal as it was sent to forward, wherever
writing the plain value would spell it differently.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, NoReturn

import orjson

MAX_DEPTH: Final = 64
"""Nesting that every known parser takes in its stride; some need seconds, or die, at a thousand."""

_BRACKETS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS)
# Possessive, and matching an unterminated string too: no input makes it look at a byte twice.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
# Shorter integers survive every parser and writer; "-0" is told apart on its own.
_SAFE_DIGITS: Final = 15


class NotStrict(ValueError):  # noqa: N818 - it says what the document is, not what failed
    """The bytes are not one strict JSON document; the message says why and never quotes them."""


class _OddNumber(Exception):  # noqa: N818 - a signal between two functions of this module
    """A number literal that does not survive a round trip: the document must be read both ways."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One document, read twice.

    Attributes:
        plain: Python values, to be judged.
        exact: the same document for `dumps`, with fragments for number literals that would
            otherwise change; it is `plain` itself when there are none. Neither may be changed.
    """

    plain: Any
    exact: Any


def parse(body: bytes, max_depth: int = MAX_DEPTH) -> Parsed:
    """Read one strict JSON document.

    Raises:
        NotStrict: the bytes are not UTF-8, not exactly one JSON text, nest deeper than `max_depth`,
            repeat a key (also in another case or width), or hold a NUL in a key, a lone surrogate,
            or a number beyond the range of a double.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise NotStrict("The body is not UTF-8.") from None
    _check_depth(body, max_depth)
    # The decoder's own errors hold the document, which must not reach a log: none is chained.
    try:
        plain, exact = _decode(text)
    except NotStrict:
        raise
    except (ValueError, RecursionError):
        raise NotStrict("The body is not one JSON document.") from None
    if _SURROGATE.search(text):
        _check_surrogates(plain)
    return Parsed(plain, exact)


def dumps(value: Any) -> bytes:
    """Write a document compactly as UTF-8; fragments of a parsed document are written as they were sent."""
    return orjson.dumps(value)


def fold(key: str) -> str:
    """What a lenient parser may take a key for: NFKC, then case folding."""
    return key.lower() if key.isascii() else _nfkc(_nfkc(key).casefold())


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _check_depth(body: bytes, max_depth: int) -> None:
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKETS)
    if max(accumulate(map(_BRACKETS.__getitem__, brackets)), default=0) > max_depth:
        raise NotStrict(f"The body is nested more than {max_depth} levels deep.")


def _check_surrogates(plain: Any) -> None:
    """Half a surrogate pair is no character: some parsers replace it, and UTF-8 cannot write it."""
    try:
        json.dumps(plain, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotStrict("The body holds a lone surrogate.") from None


def _decode(text: str) -> tuple[Any, Any]:
    try:
        plain = _EVEN.decode(text)
    except _OddNumber:
        return _PLAIN.decode(text), _EXACT.decode(text)
    return plain, plain


# --- what the decoder calls ----------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    keys = "".join(members)
    if "\0" in keys:
        raise NotStrict("A key holds a NUL character.")
    if len(members) != len(pairs):
        raise NotStrict("An object repeats a key.")
    # Distinct keys without a capital letter cannot collide: the common case needs no set.
    if not (keys.isascii() and keys == keys.lower()) and len({fold(key) for key in members}) != len(members):
        raise NotStrict("An object has keys that differ only in case or width.")
    return members


def _constant(_: str) -> NoReturn:
    raise NotStrict("NaN and Infinity are not JSON.")


def _real(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise NotStrict("A number is beyond the range of a double.")
    return value


def _plain_integer(literal: str) -> int:
    if len(literal) > _SAFE_DIGITS:
        _real(literal)
    return int(literal)


def _even_integer(literal: str) -> int:
    value = _plain_integer(literal)
    if not _survives(value, literal):
        raise _OddNumber
    return value


def _exact_integer(literal: str) -> int | orjson.Fragment:
    value = _plain_integer(literal)
    return value if _survives(value, literal) else orjson.Fragment(literal)


def _even_real(literal: str) -> float:
    value = _real(literal)
    if orjson.dumps(value) != literal.encode():
        raise _OddNumber
    return value


def _exact_real(literal: str) -> float | orjson.Fragment:
    value = _real(literal)
    return value if orjson.dumps(value) == literal.encode() else orjson.Fragment(literal)


def _survives(value: int, literal: str) -> bool:
    return -(2**63) <= value < 2**64 and literal != "-0"


_EVEN: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_even_integer, parse_float=_even_real
)
_PLAIN: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_plain_integer, parse_float=_real
)
_EXACT: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_exact_integer, parse_float=_exact_real
)
