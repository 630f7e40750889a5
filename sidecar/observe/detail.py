"""The `detail` of a log line: the values by which a request was refused. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sidecar.observe.redact import operand

MAX_DETAIL: Final = 1024
"""Bytes of one `detail` as JSON; members beyond that are left out."""
_SHORT: Final = 32  # characters of a value that need not be encoded to be counted
_MOST: Final = 12  # bytes of one character: two escapes
_AROUND: Final = 8  # bytes of braces, quotes, colon and blank
_MAX_VALUE: Final = 720  # an `accepted` of five values


def detail(specifics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the specifics of a refusal for the log; None without any.

    Args:
        specifics: `Refusal.specifics`.
    """
    shown: dict[str, Any] = {}
    left = MAX_DETAIL - 2  # the braces
    for name, value in specifics.items():
        safe = value if value is None or isinstance(value, int | float) else operand(str(value), _MAX_VALUE)
        left -= _size(name, safe)
        if left < 0:
            break
        shown[name] = safe
    return shown or None


def _size(name: str, value: Any) -> int:
    """Return the bytes of a member as JSON, or a little more for a short one."""
    if type(value) is str and len(value) < _SHORT:
        return len(name) + _MOST * len(value) + _AROUND
    return len(json.dumps({name: value}))
