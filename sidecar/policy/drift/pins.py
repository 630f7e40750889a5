"""Pin of a tool: a digest over the parts of its definition that models and people act on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

PREFIX: Final = "sha256-"

_PINNED: Final = ("name", "description", "inputSchema", "outputSchema")
_EXACT: Final = 2**53


def pin_of(definition: Mapping[str, Any]) -> str:
    """Return the pin of a tool's definition as the backend lists it.

    The digest is over canonical JSON of the pinned members that are present: UTF-8, keys sorted by code point, no
    blanks, and floats without a fractional part as integers.
    """
    pinned = {member: definition[member] for member in _PINNED if member in definition}
    text = orjson.dumps(pinned, option=orjson.OPT_SORT_KEYS)
    if b".0" in text:  # some writer may have made 1.0 of 1
        text = orjson.dumps(_plain(pinned), option=orjson.OPT_SORT_KEYS)
    return PREFIX + hashlib.sha256(text).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT else value
