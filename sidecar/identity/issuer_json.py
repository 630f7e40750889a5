"""JSON that an issuer writes and only the sidecar reads: tokens, key sets, metadata, introspection answers. Pure.

A forwarded message has two readers, so `protocol.strict` refuses all that two parsers read differently. These documents
have one reader: any JSON text of RFC 8259 is read, and unknown members are ignored. Time is linear, nesting is
limited, and a repeated member name is refused (RFC 7515 section 4, RFC 7517 section 4, RFC 7519 section 4).
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final, NoReturn

import orjson

from sidecar.identity.invalid_token import shown
from sidecar.protocol.strict.strictjson import MAX_DEPTH, too_deep

# Longer integers are read as floats: converting them exactly takes quadratic time, and no member that is read has them.
_EXACT_DIGITS: Final = 20


class IssuerJsonError(ValueError):
    """Bytes that are not one JSON text; the message completes "it ..." and quotes at most a repeated name."""


def parse(data: bytes) -> Any:
    """Parse one JSON text.

    Integers of more than 20 digits become floats, which may be infinite. Texts may contain lone surrogates.

    Raises:
        IssuerJsonError: it is not UTF-8 or not JSON, nests deeper than `MAX_DEPTH`, or repeats a member name.
    """
    deep = too_deep(data)
    usual = None if deep else _usual(data)
    if usual is not None:
        return usual
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise IssuerJsonError("is not UTF-8") from None
    if deep:
        raise IssuerJsonError(f"is nested more than {MAX_DEPTH} levels deep")
    # The decoder's own errors contain the document, which must not reach a log: none is chained.
    try:
        return _DECODER.decode(text)
    except IssuerJsonError:
        raise
    except (ValueError, RecursionError):
        raise IssuerJsonError("is not JSON") from None


def _usual(data: bytes) -> dict[str, Any] | None:
    """Return an object that orjson writes again as it was sent, as it writes most tokens; None for every other text.

    orjson keeps the last of repeated names and reads long integers as floats: such a text would change.
    """
    try:
        value = orjson.loads(data)
        return value if type(value) is dict and orjson.dumps(value) == data else None
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse one JSON object, as `parse` does.

    Raises:
        IssuerJsonError: as for `parse`, or the text is not an object.
    """
    document = parse(data)
    if not isinstance(document, dict):
        raise IssuerJsonError("is not a JSON object")
    return document


# --- decoder hooks -------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if not pairs:  # a document may be full of these
        return {}
    members = dict(pairs)
    if len(members) != len(pairs):
        repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise IssuerJsonError(f"repeats a member name: {shown(repeated)}")
    return members


def _integer(literal: str) -> int | float:
    return int(literal) if len(literal) <= _EXACT_DIGITS else float(literal)


def _constant(_: str) -> NoReturn:
    raise IssuerJsonError("is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)
