"""Keywords of JSON Schema that restrict a value on their own: the stricter of two values of one keyword.

Each function of a keyword returns the value to write, or None to leave the backend's schema as it is: where that is
strict enough already, or where another dialect may give its value another meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from sidecar.policy.narrowing.prepared_text import encoded, shown

Schema = Mapping[str, Any]
Identity = str | int | float | bytes

_HASHED: Final = frozenset({str, int, float})  # not bool: true equals 1 in Python
_MOST_TYPES: Final = 7
"""Names of types in a schema that is narrowed; there are no more."""

# A client may not compile a schema with a pattern that its engine does not know (ECMA-262 with the flag `u`).
_ESCAPE: Final = re.compile(r"\\[dDwWsSbBnrtfv^$\\.*+?()\[\]{}|/]")
_QUANTIFIER: Final = re.compile(r"\{\d+(,\d*)?\}", re.ASCII)
_UNUSUAL: Final = re.compile(r"[\\{}]|\(\?|\[\[|&&|--|~~")


class Keyword(NamedTuple):
    """Keyword of a policy's schema, prepared to be compared.

    Attributes:
        name: this keyword.
        narrow: returns the value to write, by the backend's schema, the name and the limit.
        limit: the policy's value.
        shown: the same value for the encoder; a long one is encoded already.
    """

    name: str
    narrow: Callable[[Schema, str, Any], Any]
    limit: Any
    shown: Any


def prepared(rule: Schema) -> tuple[Keyword, ...]:
    """Return the keywords of a policy's schema that can narrow another schema, without those of its members."""
    return tuple(
        Keyword(name, _KEYWORDS[name], _Accepted.of(limit) if name == "enum" else limit, shown(limit))
        for name, limit in rule.items()
        if name in _KEYWORDS and (name != "pattern" or _is_portable(limit))
    )


def stricter(own: Schema, keywords: tuple[Keyword, ...]) -> dict[str, Any]:
    """Return the keywords that make a backend's schema as strict as a policy's."""
    found: dict[str, Any] = {}
    for name, narrow, limit, shown_limit in keywords:
        value = narrow(own, name, limit)
        if value is not None:
            found[name] = shown_limit if value is limit else value
    return found


# --- numbers -----------------------------------------------------------------------------------


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _at_least(own: Schema, keyword: str, limit: Any) -> Any:
    mine = own.get(keyword)
    if keyword not in own:
        return limit
    return limit if _is_number(mine) and limit > mine else None


def _at_most(own: Schema, keyword: str, limit: Any) -> Any:
    mine = own.get(keyword)
    if keyword not in own:
        return limit
    return limit if _is_number(mine) and limit < mine else None


def _minimum(own: Schema, keyword: str, limit: Any) -> Any:
    exclusive = own.get("exclusiveMinimum")
    if type(exclusive) is bool or (_is_number(exclusive) and exclusive >= limit):  # a boolean until draft 4
        return None
    return _at_least(own, keyword, limit)


def _maximum(own: Schema, keyword: str, limit: Any) -> Any:
    exclusive = own.get("exclusiveMaximum")
    if type(exclusive) is bool or (_is_number(exclusive) and exclusive <= limit):
        return None
    return _at_most(own, keyword, limit)


def _multiple_of(own: Schema, keyword: str, divisor: Any) -> Any:
    mine = own.get(keyword)
    if keyword not in own:
        return divisor
    whole = type(mine) is int and type(divisor) is int and mine > 0
    return divisor if whole and divisor != mine and divisor % mine == 0 else None


# --- types and values --------------------------------------------------------------------------


def _types(own: Schema, keyword: str, accepted: Any) -> Any:
    if keyword not in own:
        return accepted
    mine = own[keyword]
    named = mine if isinstance(mine, list) else [mine]
    wanted = accepted if isinstance(accepted, list) else [accepted]
    if len(named) > _MOST_TYPES or not all(isinstance(each, str) for each in named):
        return None
    kept: list[str] = []
    for each in named:
        if each in wanted or (each == "integer" and "number" in wanted):
            kept.append(each)
        elif each == "number" and "integer" in wanted and "integer" not in named:
            kept.append("integer")
    if not kept or kept == named:
        return None
    return kept[0] if len(kept) == 1 else kept


class _Accepted(NamedTuple):
    """Values that a policy accepts."""

    identities: frozenset[Identity]

    @classmethod
    def of(cls, values: list[Any]) -> _Accepted:
        return cls(frozenset(map(_identity, values)))


def _enum(own: Schema, keyword: str, accepted: _Accepted) -> Any:
    if keyword not in own:
        return None if "const" in own else accepted
    mine = own[keyword]
    if not isinstance(mine, list):
        return None
    identities = accepted.identities
    kept = [each for each in mine if (each if type(each) in _HASHED else _identity(each)) in identities]
    return kept if kept and len(kept) < len(mine) else None


def _if_absent(own: Schema, keyword: str, value: Any) -> Any:
    return None if keyword in own else value


def _is_portable(pattern: str) -> bool:
    """Return True for a regular expression that every engine reads alike."""
    plain = _QUANTIFIER.sub("", _ESCAPE.sub("", pattern))
    return _UNUSUAL.search(plain) is None and plain.count("[") == plain.count("]")


def _unique(own: Schema, keyword: str, value: Any) -> Any:
    return True if value is True and own.get(keyword) in (None, False) else None


def _identity(value: Any) -> Identity:
    """Return a value that two equal JSON values share; 1.0 equals 1, and true does not."""
    identity: Identity = value if type(value) in _HASHED else encoded(_plain(value), option=orjson.OPT_SORT_KEYS)
    return identity


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


_KEYWORDS: Final[Mapping[str, Callable[[Schema, str, Any], Any]]] = {
    "type": _types,
    "enum": _enum,
    "const": _if_absent,
    "minimum": _minimum,
    "maximum": _maximum,
    "exclusiveMinimum": _at_least,
    "exclusiveMaximum": _at_most,
    "multipleOf": _multiple_of,
    "minLength": _at_least,
    "maxLength": _at_most,
    "minItems": _at_least,
    "maxItems": _at_most,
    "minProperties": _at_least,
    "maxProperties": _at_most,
    "uniqueItems": _unique,
    "pattern": _if_absent,
    "format": _if_absent,
    "title": _if_absent,
    "description": _if_absent,
}
