"""Sentences about arguments that a schema refuses, with bounded work.

The validator answers yes or no in linear time. It makes all its errors at once, each with a copy of the value,
and one per branch of `anyOf` and `oneOf`. Errors are requested only where they must be few. Otherwise the
failed property is found by yes and no, keyword by keyword.

Sentences name declared arguments and accepted values, never a value or a name of the caller's choice:
both the caller and the log show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from jsonschema_rs import Draft202012Validator, ValidationError

from sidecar.policy.argument_faults.branching import Branches
from sidecar.policy.names import Names, ReadNames

Schema = Mapping[str, Any]

MOST_ERRORS: Final = 100
"""Maximum errors for one refusal: number of values, times the schemas that apply to one of them."""
MOST_TEXT: Final = 4096
"""Maximum characters of arguments that errors may copy."""
_MOST_DEPTH: Final = 16
_MOST_STEPS: Final = 6  # from a property down to the named value

_MOST_SENTENCES: Final = 3
_OBJECT: Final = "The arguments object"
_WHOLE: Final = "urn:arguments"
_UNEXPECTED: Final = frozenset({"additionalProperties", "unevaluatedProperties", "propertyNames", "falseSchema"})
_SENTENCES: Final = {
    "type": "{where} must be of type {types}.",
    "required": "{where} lacks {property}.",
    "minimum": "{where} must be at least {limit}.",
    "maximum": "{where} must be at most {limit}.",
    "exclusiveMinimum": "{where} must be more than {limit}.",
    "exclusiveMaximum": "{where} must be less than {limit}.",
    "minItems": "{where} must have at least {limit} elements.",
    "maxItems": "{where} must have at most {limit} elements.",
    "minLength": "{where} must have at least {limit} characters.",
    "maxLength": "{where} must have at most {limit} characters.",
    "minProperties": "{where} must have at least {limit} members.",
    "maxProperties": "{where} must have at most {limit} members.",
    "multipleOf": "{where} must be a multiple of {multiple_of}.",
    "pattern": "{where} must match the pattern {pattern}.",
    "format": "{where} must have the format {format}.",
    "enum": "{where} must be one of {options}.",
    "const": "{where} must be {expected_value}.",
    "uniqueItems": "{where} must not repeat an element.",
}
# Keywords with a sentence that needs the schema only, and the names of the keyword's value in the sentences.
_PLAIN: Final = tuple(keyword for keyword in _SENTENCES if keyword != "required")
_FACTS: Final = ("types", "limit", "multiple_of", "pattern", "format", "options", "expected_value")


class ArgumentFault(NamedTuple):
    """One fault of refused arguments.

    Attributes:
        sentence: the fault for caller and log.
        path: place as in expressions, `arguments` or `arguments.ids[3]`; `*` stands for a name of the caller's choice.
        keyword: the schema's keyword that refuses; empty where only the whole schema of the place is known to refuse.
    """

    sentence: str
    path: str
    keyword: str = ""


class Explainer:
    """Author of the sentences about one schema.

    Args:
        schema: the valid schema of the arguments.
        references: the targets of its `$ref`s.
        names: the names that sentences may repeat.
        compiled: compiles a schema with the options of the arguments' schema.
    """

    def __init__(
        self,
        schema: Schema,
        references: ReadNames,
        names: Names,
        compiled: Callable[[dict[str, Any]], Draft202012Validator],
    ) -> None:
        self._schema = schema
        self._references = references
        self._names = names
        self._compiled = compiled
        self._branches = Branches(schema, references)
        self._validators: dict[str, Draft202012Validator] = {}
        self._properties = _members(schema, "properties")

    def explain(self, validator: Draft202012Validator, arguments: Mapping[str, Any]) -> tuple[ArgumentFault, ...]:
        """Describe the faults of arguments that the validator of the whole schema refuses; at least one."""
        if not self._affordable(arguments):
            return (self._named(arguments),)
        faults: dict[str, ArgumentFault] = {}
        for error in validator.iter_errors(arguments):
            fault = self._fault(error, self._place(error.instance_path))
            faults.setdefault(fault.sentence, fault)
            if len(faults) == _MOST_SENTENCES:
                break
        return tuple(faults.values())

    def _affordable(self, arguments: Mapping[str, Any]) -> bool:
        size = _measured(arguments)
        if size is None:
            return False
        values, depth = size
        return values * self._branches.most(depth) <= MOST_ERRORS

    def _fault(self, error: ValidationError, place: str) -> ArgumentFault:
        """Describe one error by the schema; the validator's own message quotes the value."""
        keyword, where = error.kind.name, place or _OBJECT
        form = _SENTENCES.get(keyword)
        if form is not None:
            facts = error.kind.as_dict()
            below = str(facts["property"]) if keyword == "required" else ""
            sentence = form.format(where=where, **{key: _shown(value) for key, value in facts.items()})
            return ArgumentFault(sentence, _path(place, below), keyword)
        if keyword in _UNEXPECTED:
            return self._closed(place, keyword)
        return ArgumentFault(f"{where} is not acceptable (its schema's {keyword}).", _path(place), keyword)

    def _closed(self, place: str, keyword: str) -> ArgumentFault:
        accepted = ", ".join(self._properties) or "none"
        sentence = f"The call has arguments that this tool does not accept; it accepts {accepted}."
        return ArgumentFault(sentence, _path(place), keyword)

    def _place(self, path: list[str | int]) -> str:
        level: Names | None = self._names
        shown: list[str] = []
        for step in path:
            if isinstance(step, int):
                shown.append(f"[{step}]")
                level = level.element if level else None
                continue
            below = level.children.get(step) if level else None
            shown.append(f".{step}" if below is not None else ".*")
            level = level.others if level and below is None else below
        return "".join(shown).lstrip(".")

    # --- by yes and no --------------------------------------------------------------------------

    def _named(self, arguments: Mapping[str, Any]) -> ArgumentFault:
        """Describe the first property that fails, as exactly as a few passes over its value allow."""
        for name, schema in self._properties.items():
            at = _pointer("", "properties", name)
            if name in arguments and not self._accepts(at, arguments[name]):
                return self._value(schema, at, arguments[name], name, _MOST_STEPS)
        missing = _missing(self._schema, arguments)
        if missing is not None:
            return ArgumentFault(f"{_OBJECT} lacks {missing}.", _path("", missing), "required")
        closing = next((keyword for keyword in self._schema if keyword in _UNEXPECTED), None)
        if closing is not None and not arguments.keys() <= self._properties.keys():
            return self._closed("", closing)
        return ArgumentFault(f"{_OBJECT} is not acceptable.", _path(""))

    def _value(self, schema: Any, at: str, value: Any, where: str, steps: int) -> ArgumentFault:
        """Explain a value that the schema at a pointer refuses."""
        if not isinstance(schema, dict):
            return ArgumentFault(f"{where} is not acceptable.", _path(where))
        for keyword in _PLAIN:
            # Each keyword is checked alone: an error would contain a copy of the value.
            if keyword in schema and not self._validator(f"{at} {keyword}", {keyword: schema[keyword]}).is_valid(value):
                sentence = _SENTENCES[keyword].format(where=where, **dict.fromkeys(_FACTS, _shown(schema[keyword])))
                return ArgumentFault(sentence, _path(where), keyword)
        missing = _missing(schema, value) if type(value) is dict else None
        if missing is not None:
            return ArgumentFault(f"{where} lacks {missing}.", _path(where, missing), "required")
        for below, pointer, inner, place in self._inside(schema, at, value, where) if steps else ():
            if not self._accepts(pointer, inner):
                return self._value(below, pointer, inner, place, steps - 1)
        return ArgumentFault(f"{where} is not acceptable.", _path(where))

    def _inside(self, schema: Schema, at: str, value: Any, where: str) -> Iterator[tuple[Any, str, Any, str]]:
        """Yield the parts of a value with schema, pointer and place; for a `$ref`, the value itself."""
        reference = schema.get("$ref")
        if isinstance(reference, str):
            for target in self._references.targets(reference):
                yield target, reference.removeprefix("#"), value, where
        if type(value) is dict:
            for name, below in _members(schema, "properties").items():
                if name in value:
                    yield below, _pointer(at, "properties", name), value[name], f"{where}.{name}"
        elif type(value) is list and isinstance(schema.get("items"), dict):
            first = len(schema.get("prefixItems", ()))
            index = self._first_refused(f"{at}/items", value, first)
            if index is not None:
                yield schema["items"], f"{at}/items", value[index], f"{where}[{index}]"

    def _first_refused(self, at: str, value: list[Any], first: int) -> int | None:
        """Return the index of the first element that a schema refuses; bisects in linear total time."""
        elements = self._validator(f"each {at}", {"items": self._reference(at)})
        end = len(value)
        if elements.is_valid(value[first:end]):
            return None
        while end - first > 1:
            middle = (first + end) // 2
            if elements.is_valid(value[first:middle]):
                first = middle
            else:
                end = middle
        return first

    def _accepts(self, at: str, value: Any) -> bool:
        return self._validator(at, self._reference(at)).is_valid(value)

    def _reference(self, at: str) -> dict[str, Any]:
        return {"$ref": f"{_WHOLE}#{at}"}

    def _validator(self, key: str, schema: dict[str, Any]) -> Draft202012Validator:
        """Compile a part of the schema at its first use; there are at most as many as the schema has parts."""
        validator = self._validators.get(key)
        if validator is None:
            # Embedded under an identifier of its own, its `$ref`s keep their targets.
            whole = {"$defs": {"whole": {"$id": _WHOLE, **self._schema}}}
            validator = self._validators[key] = self._compiled({**schema, **whole})
        return validator


def _path(*places: str) -> str:
    """Return a place below the arguments, as expressions name it."""
    return ".".join(("arguments", *filter(None, places)))


def _measured(value: Any) -> tuple[int, int] | None:
    """Return the number of values and the depth of a small value; None for a large one."""
    left, text, depth, level = MOST_ERRORS, MOST_TEXT, 0, [value]
    while level:
        left -= len(level)
        below: list[Any] = []
        for each in level:
            if type(each) is str:
                text -= len(each)
            elif type(each) in (dict, list):
                if len(each) > left:
                    return None
                text -= sum(map(len, each)) if type(each) is dict else 0
                below += each.values() if type(each) is dict else each
        if left < 0 or text < 0 or depth > _MOST_DEPTH:
            return None
        level = below
        depth += 1
    return MOST_ERRORS - left, depth - 1


def _pointer(at: str, *steps: str) -> str:
    escaped = (quote(step.replace("~", "~0").replace("/", "~1"), safe="") for step in steps)
    return "/".join((at, *escaped))


def _members(schema: Schema, keyword: str) -> Mapping[str, Any]:
    value = schema.get(keyword)
    return value if isinstance(value, dict) else {}


def _missing(schema: Schema, value: Mapping[str, Any]) -> str | None:
    """Return the first required name that an object lacks."""
    required = schema.get("required")
    return next((name for name in required if name not in value), None) if isinstance(required, list) else None


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    return str(value)
