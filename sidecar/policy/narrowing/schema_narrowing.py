"""Narrowing of a tool's input schema by the policy's schema for its arguments.

The schema keeps its form: each property gets the keywords that make it stricter, and the rest stays as the backend
wrote it. What cannot be said so (`allOf`, `$ref`, conditions of the policy) is left out; calls are judged by the whole
rule all the same.

The policy's side is prepared once, when it is loaded: a client's list pays for what its backend wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from sidecar.policy.narrowing.keywords import prepared, stricter
from sidecar.policy.narrowing.prepared_text import PreparedText, encoded, joined

Schema = Mapping[str, Any]
Narrow = Callable[[Any], Any]

# A copy of a schema with one of these is no longer the same schema.
_NAMED: Final = frozenset({"$id", "$anchor", "$dynamicAnchor", "id"})
_MOST_SIZE: Final = 50  # values of a schema that is copied for a property; a long text counts as several
_MOST_LETTERS: Final = 64  # characters of a text that counts as one
_MOST_COPIES: Final = 16  # properties that a schema is copied for
_ABSENT: Final = object()
_NOTHING: Final[dict[str, Any]] = {}
_ANYTHING: Final[dict[str, Any]] = {"properties": _NOTHING}
_OF_OBJECTS: Final = frozenset({"properties", "required", "additionalProperties"})
# Keywords of the backend's that decide which properties are shown.
_READ: Final = _OF_OBJECTS | {"patternProperties", "unevaluatedProperties"}
_OLD: Final = ("draft-03", "draft-04")  # dialects in which exclusive limits are booleans


class Narrowing:
    """Schema of a policy, prepared to narrow those of a backend.

    Args:
        rule: the policy's schema, which is valid.
        defaults: values of the policy for absent properties, which are not required therefore.

    Attributes:
        bare: what is shown of a value that the backend does not describe.
    """

    __slots__ = (
        *("_alone", "_alone_text", "_bare_text", "_closed", "_defaults", "_items", "_keywords", "_of_nothing"),
        *("_of_objects", "_properties", "_required", "_required_text", "bare"),
    )

    def __init__(self, rule: Schema, defaults: Schema) -> None:
        properties = rule.get("properties", {})
        # `items` of the policy says nothing about the elements that its own `prefixItems` describes.
        elements = "items" in rule and "prefixItems" not in rule
        self._defaults = defaults
        self._keywords = prepared(rule)
        self._of_objects = not _OF_OBJECTS.isdisjoint(rule)
        rules = {name: _rule(each) for name, each in properties.items()}
        self._properties = {name: _narrow(each) for name, each in rules.items()}
        self._required = frozenset(name for name in rule.get("required", ()) if name not in defaults)
        self._closed = rule.get("additionalProperties") is False and "patternProperties" not in rule
        self._items = _narrow(_rule(rule["items"])) if elements else None
        # What the policy says where the backend says nothing: about each property, and about a whole value.
        alone: dict[str, Any] = {
            name: each.bare if isinstance(each, Narrowing) else each for name, each in rules.items()
        }
        self._alone = {
            name: orjson.Fragment(encoded(_with_default(each, name, defaults))) for name, each in alone.items()
        }
        self._alone_text = PreparedText.of_members(self._alone)
        required = {name: encoded(name) for name in rule.get("required", ()) if name in self._required}
        self._required_text = PreparedText({name: text for name, text in required.items() if name in properties})
        self._of_nothing: dict[str, Any] = {}
        found = self._object(_ANYTHING)
        self._of_nothing = {name: each for name, each in found.items() if each is not _NOTHING}
        self.bare: dict[str, Any] = self._stricter({})
        self._bare_text = orjson.Fragment(encoded(self.bare))

    def arguments(self, own: dict[str, Any], added: Schema | None = None) -> dict[str, Any]:
        """Return the input schema that a list shows; the same object where the policy adds nothing.

        Parts that are encoded already are fragments of `orjson`.

        Args:
            own: the backend's.
            added: properties that the sidecar adds to every schema.
        """
        added = added or _NOTHING
        if "$schema" in own and any(dialect in str(own["$schema"]) for dialect in _OLD):
            return with_properties(own, added) if added else own
        return self._object(own, added)

    def is_ready(self, own: Schema) -> bool:
        """Return True for a schema of arguments that says nothing about properties: it costs no more than a copy."""
        return _READ.isdisjoint(own) and "$schema" not in own

    def value(self, own: Any) -> Any:
        """Return the schema of one value, narrowed; the same object where the policy adds nothing."""
        if own is True:
            return self._bare_text
        if not isinstance(own, dict):
            return own
        if not own:
            return self._bare_text if self.bare else own
        return self._stricter(own)

    def _stricter(self, own: dict[str, Any]) -> dict[str, Any]:
        more = stricter(own, self._keywords)
        shown = {**own, **more} if more else own
        if self._of_objects:
            shown = self._object(shown)
        return shown if self._items is None else _with_items(shown, self._items)

    def _object(self, own: dict[str, Any], added: Schema = _NOTHING) -> dict[str, Any]:
        """Return a schema with its properties narrowed."""
        if _READ.isdisjoint(own) and not added:
            return {**own, **self._of_nothing} if self._of_nothing else own
        mine = own.get("properties", _NOTHING)
        if not isinstance(mine, dict):
            return with_properties(own, added) if added else own
        others = own.get("additionalProperties", True)
        open_ = others is not False and self._may_describe(own, others)
        kept = self._narrowed(mine)
        more: dict[str, Any] = {}
        if open_ and self._closed:  # other properties are refused by the policy alone
            more["additionalProperties"] = False
            if "patternProperties" not in own and not mine.keys() <= self._properties.keys():
                kept = {name: each for name, each in kept.items() if name in self._properties}
        text = self._described(mine, others) if open_ else b""
        if added:
            kept = {**kept, **added}
        if text:
            more["properties"] = joined(encoded(kept), text)
        elif kept is not mine:
            more["properties"] = kept
        required = self._missing(own.get("required", []), kept, all_shown=open_) if self._required else None
        if required is not None:
            more["required"] = required
        return {**own, **more} if more else own

    def _narrowed(self, mine: dict[str, Any]) -> dict[str, Any]:
        """Return the backend's properties narrowed; the same object where nothing changes."""
        changed: dict[str, Any] = {}
        for name, own in mine.items():
            narrow = self._properties.get(name)
            if narrow is None:
                continue
            shown: Any = narrow(own)
            if shown is own and name not in self._defaults:
                continue
            # The policy's default is shown: it is the value that the backend receives.
            described = self._alone[name] if _is_open(own) else _with_default(shown, name, self._defaults)
            if described is not own:
                changed[name] = described
        return {**mine, **changed} if changed else mine

    def _described(self, mine: Schema, others: Any) -> bytes:
        """Return the encoded properties that only the policy describes.

        Args:
            mine: the backend's properties.
            others: its schema of other properties.
        """
        if _is_open(others):
            return self._alone_text.without(mine)
        ahead = {
            name: _with_default(narrow(others), name, self._defaults)
            for name, narrow in self._properties.items()
            if name not in mine
        }
        return b"," + encoded(ahead)[1:-1] if ahead else b""

    def _may_describe(self, own: Schema, others: Any) -> bool:
        """Return True when properties that only the policy describes can be described in the backend's schema.

        They are then no longer among its other properties, so that the schema of these has to move into each
        description.
        """
        if "unevaluatedProperties" in own:
            return False
        if _is_open(others):
            return True
        return "patternProperties" not in own and len(self._properties) <= _MOST_COPIES and _may_copy(others)

    def _missing(self, mine: Any, shown: Schema, *, all_shown: bool) -> Any:
        """Return the required properties with those that the policy alone requires; None where it adds none.

        Args:
            mine: the properties that the backend requires.
            shown: the properties that the backend describes.
            all_shown: True when all properties that the policy describes are shown, too.
        """
        if not isinstance(mine, list):  # draft 3 has a boolean on each property
            return None
        known = {each for each in mine if isinstance(each, str)}
        ahead = [name for name in shown if name in self._required and name not in known]
        if not all_shown:
            return [*mine, *ahead] if ahead else None
        text = self._required_text.without(known)
        # Declared ones are in the text, whether the backend describes them or not.
        ahead = [name for name in ahead if name not in self._properties]
        return joined(encoded([*mine, *ahead]), text) if text else [*mine, *ahead] if ahead else None


def with_properties(schema: Any, added: Schema) -> dict[str, Any]:
    """Return a schema with more properties, whatever it is."""
    own = schema if isinstance(schema, dict) and schema else {"type": "object"}
    properties = own.get("properties")
    return {**own, "properties": {**(properties if isinstance(properties, dict) else {}), **added}}


def _rule(schema: Any) -> Narrowing | bool:
    """Return a policy's schema of one value, prepared."""
    return Narrowing(schema, _NOTHING) if isinstance(schema, dict) else schema is not False


def _narrow(rule: Narrowing | bool) -> Narrow:
    """Return what narrows a value's schema by the policy's."""
    if isinstance(rule, Narrowing):
        return rule.value
    return _keep if rule else _refuse


def _refuse(_own: Any) -> Any:
    return False


def _keep(own: Any) -> Any:
    return own


def _with_items(own: dict[str, Any], narrow: Narrow) -> dict[str, Any]:
    """Return a schema with that of a list's elements narrowed."""
    # A new `items` of the backend would change what `unevaluatedItems` applies to.
    if isinstance(own.get("items"), list) or ("items" not in own and "unevaluatedItems" in own):
        return own
    items = own.get("items", _ABSENT)
    shown = narrow(True if items is _ABSENT else items)
    return own if shown is items else {**own, "items": shown}


def _is_open(schema: Any) -> bool:
    """Return True for a schema that accepts every value by its form."""
    return schema is True or (isinstance(schema, dict) and not schema)


def _with_default(shown: Any, name: str, defaults: Schema) -> Any:
    if name not in defaults or not isinstance(shown, dict) or shown.get("default", _ABSENT) == defaults[name]:
        return shown
    return {**shown, "default": defaults[name]}


def _may_copy(schema: Any) -> bool:
    """Return True for a small schema without a name, which means the same at another place."""
    if isinstance(schema, bool):
        return True
    left, ahead = _MOST_SIZE, [schema]
    while ahead:
        value = ahead.pop()
        left -= 1 + (len(value) // _MOST_LETTERS if isinstance(value, str) else 0)
        if left < 0 or (isinstance(value, dict) and not _NAMED.isdisjoint(value)):
            return False
        if isinstance(value, dict | list):
            if len(value) > left:
                return False
            ahead += value.values() if isinstance(value, dict) else value
    return True
