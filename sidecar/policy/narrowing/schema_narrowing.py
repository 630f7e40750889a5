"""Narrowing of a tool's input schema by the policy's schema for its arguments.

The schema keeps its form: each property gets the keywords that make it stricter, and the rest stays as the backend
wrote it. What cannot be said so (`allOf`, `$ref`, conditions of the policy) is left out; calls are judged by the whole
rule all the same.

The policy's side is prepared once, when it is loaded: a client's list pays for what its backend wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sidecar.policy.narrowing.keywords import prepared, stricter

Schema = Mapping[str, Any]
Narrow = Callable[[Any], Any]

# A copy of a schema with one of these is no longer the same schema.
_NAMED: Final = frozenset({"$id", "$anchor", "$dynamicAnchor", "id"})
_MOST_SIZE: Final = 50  # values of a schema that is copied for a property
_OF_OBJECTS: Final = frozenset({"properties", "required", "additionalProperties"})
_OLD: Final = ("draft-03", "draft-04")  # dialects in which exclusive limits are booleans


class Narrowing:
    """Schema of a policy, prepared to narrow those of a backend.

    Args:
        rule: the policy's schema, which is valid.
        defaults: values of the policy for absent properties, which are not required therefore.
    """

    __slots__ = (
        *("_alone", "_bare", "_closed", "_defaults", "_items", "_keywords", "_of_objects", "_properties", "_required"),
    )

    def __init__(self, rule: Schema, defaults: Schema) -> None:
        properties = rule.get("properties", {})
        # `items` of the policy says nothing about the elements that its own `prefixItems` describes.
        elements = "items" in rule and "prefixItems" not in rule
        self._defaults = defaults
        self._keywords = prepared(rule)
        self._of_objects = not _OF_OBJECTS.isdisjoint(rule)
        self._properties = {name: _narrow(each) for name, each in properties.items()}
        self._required = [name for name in rule.get("required", ()) if name not in defaults]
        self._closed = rule.get("additionalProperties") is False and "patternProperties" not in rule
        self._items = _narrow(rule["items"]) if elements else None
        # What the policy says where the backend says nothing: about each property, and about a whole value.
        self._alone = {name: narrow(True) for name, narrow in self._properties.items()}
        self._bare = self._stricter({})

    def arguments(self, own: dict[str, Any]) -> dict[str, Any]:
        """Return the input schema that a list shows; the same object where the policy adds nothing.

        Args:
            own: the backend's.
        """
        if "$schema" in own and any(dialect in str(own["$schema"]) for dialect in _OLD):
            return own
        shown = self._object(own)
        properties = shown.get("properties")
        if not self._defaults or not isinstance(properties, dict):
            return shown
        # The policy's default is shown: it is the value that the backend receives.
        changed = {
            name: {**properties[name], "default": value}
            for name, value in self._defaults.items()
            if isinstance(properties.get(name), dict) and properties[name].get("default", _ABSENT) != value
        }
        return {**shown, "properties": {**properties, **changed}} if changed else shown

    def value(self, own: Any) -> Any:
        """Return the schema of one value, narrowed; the same object where the policy adds nothing."""
        if own is True:
            return self._bare
        if not isinstance(own, dict):
            return own
        return self._stricter(own) if own else self._bare or own

    def _stricter(self, own: dict[str, Any]) -> dict[str, Any]:
        more = stricter(own, self._keywords)
        shown = {**own, **more} if more else own
        if self._of_objects:
            shown = self._object(shown)
        return shown if self._items is None else _with_items(shown, self._items)

    def _object(self, own: dict[str, Any]) -> dict[str, Any]:
        """Return a schema with its properties narrowed."""
        mine = own.get("properties", _NOTHING)
        if not isinstance(mine, dict):
            return own
        others = own.get("additionalProperties", True)
        open_ = others is not False and _may_describe(own, others)
        properties = self._narrowed(mine, others, open_=open_)
        more: dict[str, Any] = {}
        if open_ and self._closed:  # other properties are refused by the policy alone
            more["additionalProperties"] = False
            if "patternProperties" not in own and not properties.keys() <= self._properties.keys():
                properties = {name: each for name, each in properties.items() if name in self._properties}
        if properties is not mine:
            more["properties"] = properties
        required = self._missing(own.get("required", []), properties) if self._required else None
        if required:
            more["required"] = [*own.get("required", ()), *required]
        return {**own, **more} if more else own

    def _narrowed(self, mine: dict[str, Any], others: Any, *, open_: bool) -> dict[str, Any]:
        """Return the backend's properties narrowed, and those that only the policy describes.

        Args:
            mine: the backend's properties.
            others: its schema of other properties.
            open_: True when other properties can be described.
        """
        if open_ and others is True and not mine:
            return self._alone or mine
        changed: dict[str, Any] = {}
        for name, narrow in self._properties.items():
            if name in mine:
                shown = narrow(mine[name])
                if shown is not mine[name]:
                    changed[name] = shown
            elif open_:
                changed[name] = self._alone[name] if others is True else narrow(others)
        return {**mine, **changed} if changed else mine

    def _missing(self, mine: Any, shown: Schema) -> list[str]:
        """Return the shown properties that the policy alone requires."""
        if not isinstance(mine, list):  # draft 3 has a boolean on each property
            return []
        known = {each for each in mine if isinstance(each, str)}
        return [name for name in self._required if name in shown and name not in known]


_ABSENT: Final = object()
_NOTHING: Final[dict[str, Any]] = {}


def _narrow(rule: Any) -> Narrow:
    """Return what narrows a value's schema by the policy's."""
    if rule is False:
        return _refuse
    return Narrowing(rule, _NOTHING).value if isinstance(rule, dict) else _keep


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


def _may_describe(own: Schema, others: Any) -> bool:
    """Return True when a property that only the policy describes can be described in the backend's schema.

    It is then no longer one of the other properties, so that their schema has to move into its description.
    """
    if "unevaluatedProperties" in own or not _may_copy(others):
        return False
    return "patternProperties" not in own or others is True or others == {}


def _may_copy(schema: Any) -> bool:
    """Return True for a small schema without a name, which means the same at another place."""
    if isinstance(schema, bool):
        return True
    left, ahead = _MOST_SIZE, [schema]
    while ahead:
        value = ahead.pop()
        left -= 1
        if left < 0 or (isinstance(value, dict) and not _NAMED.isdisjoint(value)):
            return False
        if isinstance(value, dict | list):
            if len(value) > left:
                return False
            ahead += value.values() if isinstance(value, dict) else value
    return True
