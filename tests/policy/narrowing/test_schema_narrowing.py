"""Input schemas as lists show them: the backend's, with what the policy accepts, keyword by keyword."""

from __future__ import annotations

import copy
import random
from collections import Counter
from typing import Any

import orjson
import pytest
from jsonschema_rs import Draft202012Validator

from sidecar.config.documents.merging import Document
from sidecar.policy.arguments import ArgumentRules
from sidecar.policy.language.argument_schemas import argument_rules

Schema = dict[str, Any]


def rules(schema: Schema | None) -> ArgumentRules:
    problems: list[Any] = []
    found = argument_rules(Document("p.yaml", {}), ("arguments",), schema, problems)
    assert problems == []
    return found


def narrowed(own: Schema, policy: ArgumentRules) -> Schema:
    """The input schema that a list shows."""
    shown = own if policy.narrowing is None else policy.narrowing.arguments(own)
    return own if shown is own else orjson.loads(orjson.dumps(shown))


def of_property(own: Any, rule: Any) -> Any:
    """The schema of one property of both."""
    backend = {"type": "object", "properties": {"x": own}}
    return narrowed(backend, rules({"properties": {"x": rule}}))["properties"]["x"]


PROPERTIES: dict[str, tuple[Any, Any, Any]] = {
    "a limit that the backend lacks": ({"type": "integer"}, {"maximum": 9}, {"type": "integer", "maximum": 9}),
    "the smaller maximum": ({"maximum": 20}, {"maximum": 9}, {"maximum": 9}),
    "the backend's own smaller maximum": ({"maximum": 5}, {"maximum": 9}, {"maximum": 5}),
    "the larger minimum": ({"minimum": 1}, {"minimum": 3}, {"minimum": 3}),
    "an exclusive limit that is stricter": ({"exclusiveMinimum": 3}, {"minimum": 3}, {"exclusiveMinimum": 3}),
    "an exclusive limit of draft 4": (
        {"minimum": 1, "exclusiveMinimum": True},
        {"minimum": 3},
        {"minimum": 1, "exclusiveMinimum": True},
    ),
    "lengths": ({"maxLength": 9}, {"minLength": 2, "maxLength": 20}, {"maxLength": 9, "minLength": 2}),
    "elements": (
        {"type": "array", "items": {"type": "string"}},
        {"maxItems": 20, "items": {"maxLength": 5}},
        {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 20},
    ),
    "elements by place": (
        {"items": [{"type": "string"}]},
        {"items": {"maxLength": 5}},
        {"items": [{"type": "string"}]},
    ),
    "common values": ({"enum": ["a", 1, True]}, {"enum": [1.0, "a", "z"]}, {"enum": ["a", 1]}),
    "no common value": ({"enum": ["a"]}, {"enum": ["b"]}, {"enum": ["a"]}),
    "values that the backend lacks": ({}, {"enum": ["a", "b"]}, {"enum": ["a", "b"]}),
    "a value of the backend": ({"const": "a"}, {"enum": ["a", "b"]}, {"const": "a"}),
    "a narrower type": ({"type": ["number", "null"]}, {"type": "integer"}, {"type": "integer"}),
    "a wider type": ({"type": "integer"}, {"type": ["number", "string"]}, {"type": "integer"}),
    "no common type": ({"type": "string"}, {"type": "integer"}, {"type": "string"}),
    "a pattern that the backend lacks": ({}, {"pattern": "^[a-z.]{2,9}$"}, {"pattern": "^[a-z.]{2,9}$"}),
    "a pattern of the backend": ({"pattern": "^a"}, {"pattern": "^b"}, {"pattern": "^a"}),
    "a pattern that some engines do not know": ({}, {"pattern": "^\\p{L}+$"}, {}),
    "a multiple of the backend's": ({"multipleOf": 5}, {"multipleOf": 10}, {"multipleOf": 10}),
    "another multiple": ({"multipleOf": 4}, {"multipleOf": 10}, {"multipleOf": 4}),
    "a description of the backend": ({"description": "Own."}, {"description": "Rule."}, {"description": "Own."}),
    "anything": (True, {"type": "string"}, {"type": "string"}),
    "nothing": ({"type": "string"}, False, False),
    "parts that have no words": ({"type": "string"}, {"anyOf": [{"const": "a"}]}, {"type": "string"}),
    "an inner object": (
        {"type": "object", "properties": {"a": {}, "b": {}}},
        {"properties": {"a": {"maximum": 3}}, "required": ["a"], "additionalProperties": False},
        {"type": "object", "properties": {"a": {"maximum": 3}}, "required": ["a"], "additionalProperties": False},
    ),
}


@pytest.mark.parametrize(("own", "rule", "shown"), PROPERTIES.values(), ids=PROPERTIES)
def test_each_keyword_is_the_stricter_of_both(own: Any, rule: Any, shown: Any):
    before = copy.deepcopy(own)
    assert of_property(own, rule) == shown
    assert own == before


OBJECTS: dict[str, tuple[Schema, Schema, Schema]] = {
    "a backend without properties": (
        {"type": "object"},
        {"properties": {"limit": {"maximum": 9}}, "required": ["limit"]},
        {"type": "object", "properties": {"limit": {"maximum": 9}}, "required": ["limit"]},
    ),
    "properties that the policy refuses": (
        {"properties": {"a": {}, "debug": {}}},
        {"properties": {"a": {}}, "additionalProperties": False},
        {"properties": {"a": {}}, "additionalProperties": False},
    ),
    "a backend that is closed": (
        {"properties": {"a": {}}, "additionalProperties": False},
        {"properties": {"b": {}}, "required": ["b"]},
        {"properties": {"a": {}}, "additionalProperties": False},
    ),
    "other properties of the backend": (
        {"additionalProperties": {"type": "integer"}},
        {"properties": {"b": {"maximum": 3}}, "additionalProperties": False},
        {"additionalProperties": False, "properties": {"b": {"type": "integer", "maximum": 3}}},
    ),
    "properties by pattern": (
        {"properties": {"a": {}}, "patternProperties": {"^x": {}}},
        {"properties": {}, "additionalProperties": False},
        {"properties": {"a": {}}, "patternProperties": {"^x": {}}, "additionalProperties": False},
    ),
    "unevaluated properties": (
        {"properties": {"a": {}}, "unevaluatedProperties": {"type": "integer"}},
        {"properties": {"b": {}}, "additionalProperties": False},
        {"properties": {"a": {}}, "unevaluatedProperties": {"type": "integer"}},
    ),
    "a default is shown and makes nothing required": (
        {"properties": {"n": {"type": "integer", "default": 500}}},
        {"properties": {"n": {"maximum": 9, "default": 5}}, "required": ["n"]},
        {"properties": {"n": {"type": "integer", "default": 5, "maximum": 9}}},
    ),
    "an older dialect": (
        {"$schema": "http://json-schema.org/draft-04/schema#"},
        {"properties": {"n": {"exclusiveMinimum": 1}}},
        {"$schema": "http://json-schema.org/draft-04/schema#"},
    ),
    "the top has no combination": (
        {"type": "object", "anyOf": [{"required": ["a"]}]},
        {"allOf": [{"required": ["a"]}], "minProperties": 1},
        {"type": "object", "anyOf": [{"required": ["a"]}]},
    ),
}


@pytest.mark.parametrize(("own", "rule", "shown"), OBJECTS.values(), ids=OBJECTS)
def test_the_object_keeps_its_form(own: Schema, rule: Schema, shown: Schema):
    assert narrowed(own, rules(rule)) == shown


def test_a_schema_that_is_strict_enough_stays_the_same_object():
    own = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 5}}, "required": ["n"]}
    assert narrowed(own, rules({"properties": {"n": {"maximum": 9}}, "required": ["n"]})) is own
    assert narrowed(own, rules(None)) is own


def test_a_schema_with_a_name_is_not_copied():
    own = {"additionalProperties": {"$anchor": "other", "type": "integer"}}
    assert narrowed(own, rules({"properties": {"a": {"maximum": 3}}, "additionalProperties": False})) is own


# --- for any two schemas -----------------------------------------------------------------------

NAMES = ("a", "b", "c")
TYPES = ("string", "integer", "number", "array", "object", "boolean", "null")
ATOMS = (None, True, False, 0, 1, 2, 3, 1.5, "", "a", "bb", "abc")


class Maker:
    """Schemas and values of a small world, in which two of them often meet."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def value(self, depth: int = 2) -> Any:
        kind = self.dice.random()
        if depth == 0 or kind < 0.6:
            return self.dice.choice(ATOMS)
        if kind < 0.8:
            return [self.value(depth - 1) for _ in range(self.dice.randrange(4))]
        return self.object(depth - 1)

    def object(self, depth: int = 2) -> Schema:
        return {name: self.value(depth) for name in NAMES if self.dice.random() < 0.5}

    def schema(self, depth: int = 3, most: int = 3) -> Any:
        if depth == 0 or self.dice.random() < 0.1:
            return self.dice.random() < 0.8
        return {key: self.keyword(key, depth - 1) for key in self.dice.sample(KEYWORDS, self.dice.randint(0, most))}

    def keyword(self, key: str, depth: int) -> Any:
        if key in ("properties", "patternProperties"):
            form = "^{}$" if key == "patternProperties" else "{}"
            return {form.format(name): self.schema(depth) for name in NAMES if self.dice.random() < 0.6}
        if key in ("anyOf", "allOf", "prefixItems"):
            return [self.schema(depth) for _ in range(self.dice.randint(1, 2))]
        if key == "type":
            return self.dice.choice(TYPES) if self.dice.random() < 0.5 else self.dice.sample(TYPES, 3)
        if key == "enum":
            return [self.value(1) for _ in range(self.dice.randint(1, 5))]
        if key == "required":
            return self.dice.sample(NAMES, self.dice.randint(0, 2))
        if key in FIXED:
            return self.dice.choice(FIXED[key])
        return self.schema(depth) if key in SCHEMAS else self.dice.randrange(4)

    def top(self) -> Schema:
        """A schema of arguments: objects with properties, mostly."""
        more = self.schema(2)
        found = {"properties": self.keyword("properties", 2), **(more if isinstance(more, dict) else {})}
        found.pop("enum", None)
        return {**found, **({} if "type" not in found else {"type": "object"})}


SCHEMAS = ("additionalProperties", "unevaluatedProperties", "items", "unevaluatedItems", "not")
FIXED: dict[str, tuple[Any, ...]] = {
    "uniqueItems": (True, False),
    "pattern": ("^a", "b$", "^[ab]+$"),
    "multipleOf": (1, 2, 3, 4),
    "const": ATOMS,
    "dependentRequired": ({"a": ["b"]}, {}),
    "additionalProperties": (False, False, True, {"type": "integer"}, {"maximum": 2}),
}
LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
SIZES = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
KEYWORDS = [
    *("type", "type", "enum", "required", "properties", "properties", "patternProperties", "anyOf", "allOf"),
    *("prefixItems", *SCHEMAS, "items", "additionalProperties", *FIXED, *LIMITS, *SIZES),
]


def test_a_narrowed_schema_lies_between_the_backends_and_both():
    met: Counter[str] = Counter()
    for seed in range(1500):
        maker = Maker(seed)
        own, rule = maker.top(), maker.top()
        for name, each in rule["properties"].items():
            if isinstance(each, dict) and maker.dice.random() < 0.2:
                rule["properties"][name] = {**each, "default": maker.value()}
        policy = argument_rules(Document("p.yaml", {}), ("arguments",), rule, [])
        shown = narrowed(own, policy)
        assert {"anyOf", "allOf", "oneOf"} & shown.keys() <= own.keys()
        met["narrowed"] += shown is not own
        backend, listed = Draft202012Validator(own), Draft202012Validator(shown)
        for value in [maker.object() for _ in range(12)]:
            by_backend, by_list = backend.is_valid(value), listed.is_valid(value)
            accepted = policy.validator is not None and policy.validator.is_valid(policy.complete(value))
            assert by_backend or not by_list, (seed, own, rule, shown, value)
            assert by_list or not (by_backend and accepted), (seed, own, rule, shown, value)
            met["accepted by both"] += by_backend and accepted
            met["learnt from the list"] += by_backend and not by_list
            met["refused by the policy alone"] += by_backend and not accepted and by_list
    assert min(met[what] for what in ("narrowed", "accepted by both", "learnt from the list")) > 500, met
    assert met["learnt from the list"] * 2 > met["refused by the policy alone"], met


@pytest.mark.parametrize("own", [{}, {"type": "object"}, {"type": "object", "properties": {"a": {"type": "integer"}}}])
def test_integers_of_more_than_64_bits_are_listed_as_written(own: Schema):
    """Together with a type or an enum they once ended the load of the policy."""
    long = 10**300
    member = {"type": ["integer"], "enum": [long, 1, [-long]], "default": long}
    policy = rules({"properties": {"a": member, "b": {"const": {"c": [long]}}}})
    assert policy.narrowing is not None
    text = orjson.dumps(policy.narrowing.arguments(own)).decode()
    assert f'"default":{long}' in text
    assert f'"enum":[{long},1,[-{long}]]' in text
    assert f'"c":[{long}]' in text
