"""JSON that is encoded when a policy is loaded, so that a list copies it instead of writing it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

_SHORT: Final = frozenset({str, bool, float, type(None)})
_MOST: Final = 2**63


class PreparedText:
    """Parts of an object or a list, encoded once; a few of them can be left out.

    Args:
        parts: the encoded parts by their names, in order.
    """

    __slots__ = ("_all", "_spans")

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self._spans: dict[str, tuple[int, int]] = {}
        at = 0
        for name, part in parts.items():
            self._spans[name] = at, at + len(part) + 1
            at += len(part) + 1
        self._all = b"".join(b"," + part for part in parts.values())

    @classmethod
    def of_members(cls, members: Mapping[str, Any]) -> PreparedText:
        """Encode the members of an object."""
        return cls({name: encoded(name) + b":" + encoded(value) for name, value in members.items()})

    def without(self, names: Iterable[str]) -> bytes:
        """Return the parts without the named ones, each after a comma; it takes time for the names only."""
        spans = self._spans
        cut = sorted([spans[name] for name in names if name in spans])
        if not cut:
            return self._all
        kept, at = [], 0
        for start, end in cut:
            kept.append(self._all[at:start])
            at = end
        return b"".join((*kept, self._all[at:]))


def joined(opening: bytes, more: bytes) -> orjson.Fragment:
    """Return an encoded object or list with more parts, each after a comma, before its end."""
    return orjson.Fragment(opening[:-1] + (more if len(opening) > 2 else more[1:]) + opening[-1:])


def encoded(value: Any, option: int = 0) -> bytes:
    """Return a value as compact JSON, also with integers of more than 64 bits."""
    try:
        return orjson.dumps(value, option=option)
    except TypeError:
        return orjson.dumps(_with_written_integers(value), option=option)


def _with_written_integers(value: Any) -> Any:
    """Return a value whose integers of more than 64 bits are encoded already; parts of it may be, too."""
    if type(value) is dict:
        return {name: _with_written_integers(each) for name, each in value.items()}
    if type(value) in (list, tuple):
        return [_with_written_integers(each) for each in value]
    return orjson.Fragment(str(value)) if type(value) is int and not -_MOST <= value < _MOST else value


def shown(value: Any) -> Any:
    """Return a value for the encoder: a container, or an integer of more than 64 bits, is encoded already."""
    if type(value) in _SHORT or (type(value) is int and -_MOST <= value < _MOST):
        return value
    return orjson.Fragment(encoded(value))
