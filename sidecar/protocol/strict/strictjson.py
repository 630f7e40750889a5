"""JSON that every parser reads alike; other documents are refused.

Parsers differ on repeated keys, keys in another case, broken UTF-8, numbers beyond a double, and deep nesting. A
caller can use that to have one call judged and another one executed. Everything that two known parsers read
differently is refused (RFC 8259 calls most of it "unpredictable", sections 4 and 6), so that the judged call is
the executed call. Almost all documents need only the rules of `usual`; the complete ones are here.

A number has two forms: a plain value to judge, and the literal as sent to forward, wherever serializing the value
would spell it differently.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any, Final, NoReturn

import orjson

from sidecar.protocol.strict.folding import MAX_NAME, fault
from sidecar.protocol.strict.folding import fold as fold
from sidecar.protocol.strict.usual import LONGEST, read_usual
from sidecar.vocabulary import record

MAX_DEPTH: Final = 64
"""Nesting that every known parser accepts; some need seconds, or crash, at a thousand."""

_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
# Change of the depth at each bracket, as a signed byte.
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
# Possessive, and also matches an unterminated string: no input makes it read a byte twice.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
# Shorter integers survive every parser and writer; "-0" is handled separately.
_SAFE_DIGITS: Final = 15


class NotStrict(ValueError):  # noqa: N818 - the name describes the document, not a failure
    """Bytes that are not one strict JSON document; the message gives the reason and never quotes them."""


@record
class Parsed:
    """One document, read in two forms. Neither may be modified.

    Attributes:
        plain: Python values to judge.
        exact: the document for `dumps`, with fragments for number literals that would change; the same object as
            `plain` when there are none.
        folded: its text in lower case without blanks; None if names may hold escapes or characters beyond ASCII.
    """

    plain: Any
    exact: Any
    folded: bytes | None = None

    def may_name(self, words: tuple[bytes, bytes]) -> bool:
        """Return False if no name in the document has one of two words in it, which are in lower case."""
        folded = self.folded
        # `find`, because `in` takes several times as long: it tries to read the word as an integer first.
        return folded is None or folded.find(words[0]) >= 0 or folded.find(words[1]) >= 0


def parse(body: bytes, max_depth: int = MAX_DEPTH) -> Parsed:
    """Parse one strict JSON document.

    Raises:
        NotStrict: the bytes are not UTF-8, not exactly one JSON text, nest deeper than `max_depth`,
            repeat a key (also in another case or width), or hold a NUL in a key, a key that is too long
            or too crowded to be compared (see `folding`), a lone surrogate, or a number beyond the range
            of a double.
    """
    if len(body) <= LONGEST and not too_deep(body, max_depth):
        usual = read_usual(body)
        if usual is not None:
            value, folded = usual
            return Parsed(value, value, folded)
    return parse_completely(body, max_depth)


def parse_completely(body: bytes, max_depth: int = MAX_DEPTH) -> Parsed:
    """Return the same as `parse`, from the complete rules also for a usual document."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise NotStrict("The body is not UTF-8.") from None
    if too_deep(body, max_depth):
        raise NotStrict(f"The body is nested more than {max_depth} levels deep.")
    # The decoder's own errors contain the document, which must not reach a log: none is chained.
    try:
        plain, exact = _decode(text)
    except NotStrict:
        raise
    except (ValueError, RecursionError):
        raise NotStrict("The body is not one JSON document.") from None
    if _SURROGATE.search(text):
        _check_surrogates(body)
    return Parsed(plain, exact)


dumps: Final = orjson.dumps
"""Serialize a document compactly as UTF-8; fragments of a parsed document are written as they were sent."""


def too_deep(body: bytes, max_depth: int = MAX_DEPTH) -> bool:
    """Return whether a JSON text nests too deep; for invalid JSON either result is possible.

    It does not recurse, so it is safe before any parser.
    """
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return False
    steps = _STRING.sub(b"", body).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > max_depth


def _check_surrogates(body: bytes) -> None:
    """Refuse half a surrogate pair: some parsers replace it, and UTF-8 cannot encode it."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        # The document is otherwise valid: another parser has read it.
        raise NotStrict("The body holds a lone surrogate.") from None


def _decode(text: str) -> tuple[Any, Any]:
    # This pass checks names and the range of numbers, so the second pass need not.
    numbers = _Numbers()
    exact = numbers.decoder.decode(text)
    return (_UNCHECKED.decode(text) if numbers.odd else exact), exact


# --- decoder hooks -------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if not pairs:
        return {}
    members = dict(pairs)
    keys = "".join(members)
    if "\0" in keys:
        raise NotStrict("A key holds a NUL character.")
    if len(members) != len(pairs):
        raise NotStrict("An object repeats a key.")
    if len(keys) > MAX_NAME or not keys.isascii():
        _check_keys(members)
    # Distinct keys without a capital letter cannot collide: the common case needs no set.
    if len(members) > 1 and not (keys.isascii() and keys == keys.lower()):
        _check_distinct_names(members)
    return members


def _check_keys(members: dict[str, Any]) -> None:
    for key in members:
        wrong = fault(key)
        if wrong is not None:
            raise NotStrict(f"A key {wrong}.")


def _check_distinct_names(members: dict[str, Any]) -> None:
    if len({fold(key) for key in members}) != len(members):
        raise NotStrict("An object has keys that differ only in case or width.")


def _constant(_: str) -> NoReturn:
    raise NotStrict("NaN and Infinity are not JSON.")


def _real(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise NotStrict("A number is beyond the range of a double.")
    return value


class _Numbers:
    """Numbers of one document in the form to forward.

    Attributes:
        odd: whether one of them does not survive a round trip.
        decoder: reads the document.
    """

    def __init__(self) -> None:
        self.odd = False
        self.decoder = json.JSONDecoder(
            object_pairs_hook=_object, parse_constant=_constant, parse_int=self._integer, parse_float=self._decimal
        )

    def _integer(self, literal: str) -> int | orjson.Fragment:
        if len(literal) > _SAFE_DIGITS:
            _real(literal)
        value = int(literal)
        return value if -(2**63) <= value < 2**64 and literal != "-0" else self._fragment(literal)

    def _decimal(self, literal: str) -> float | orjson.Fragment:
        value = _real(literal)
        return value if orjson.dumps(value) == literal.encode() else self._fragment(literal)

    def _fragment(self, literal: str) -> orjson.Fragment:
        self.odd = True
        return orjson.Fragment(literal)


_UNCHECKED: Final = json.JSONDecoder()
