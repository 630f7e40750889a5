"""Adoption of input schemas: what the policy accepts is taken over, everything else is dropped and reported."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from sidecar.config.documents.merging import Document
from sidecar.policy.language.argument_schemas import argument_rules
from sidecar.workbench.scaffolding.schema_adoption import MAX_VALUES, adopt

Json = dict[str, Any]


def of(**properties: Any) -> Json:
    return {"type": "object", "properties": properties}


def adopted(part: Any) -> tuple[Any, tuple[str, ...]]:
    """The schema adopted for one argument, and the notes."""
    result = adopt(of(a=part))
    assert result.schema is not None
    return result.schema["properties"]["a"], result.notes


def accepts(schema: Json, arguments: Json) -> bool:
    result = adopt(schema)
    assert result.schema is not None
    return argument_rules(Document("", {}), (), result.schema, []).invalid(arguments) is None


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        ({"type": "string", "title": "A", "description": "x", "examples": ["y"], "default": "z"}, {"type": "string"}),
        ({"type": "integer", "minimum": 1, "maximum": 9}, {"type": "integer", "minimum": 1, "maximum": 9}),
        ({"type": "string", "pattern": "^a+$"}, {"type": "string", "pattern": "^a+$"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"multipleOf": 0.5}, {"multipleOf": 0.5}),
        ({"type": "string", "x-mcp-header": "A"}, {"type": "string", "x-mcp-header": "A"}),
        (True, True),
    ],
)
def test_the_subset_is_taken_over_without_texts_and_defaults(part: Any, kept: Any):
    assert adopted(part) == (kept, ())


@pytest.mark.parametrize(
    ("part", "kept", "dropped"),
    [
        ({"type": "string", "pattern": "(?=a)b"}, {"type": "string"}, "pattern"),
        ({"type": "string", "pattern": "["}, {"type": "string"}, "pattern"),
        ({"type": "string", "pattern": "^a*a{99}b"}, {"type": "string"}, "pattern"),
        ({"type": "string", "format": "regex"}, {"type": "string"}, "format"),
        ({"type": "string", "format": "phone"}, {"type": "string"}, "format"),
        ({"type": "integer", "exclusiveMinimum": True}, {"type": "integer"}, "exclusiveMinimum"),
        ({"type": "text"}, {}, "type"),
        ({"type": "string", "nullable": True}, {"type": "string"}, "nullable"),
        ({"items": {"multipleOf": 0.1}}, {"items": {}}, "items.multipleOf"),
        ({"$ref": "https://example.com/a"}, {}, "$ref"),
        ({"$ref": "#/$defs/gone"}, {}, "$ref"),
        ({"items": 3}, {"items": True}, "items"),
        ({"anyOf": []}, {}, "anyOf"),
        ({"enum": [[[[[[[[[[[1]]]]]]]]]]]}, {}, "enum"),
        ({"patternProperties": {"^x-": {}}, "additionalProperties": False}, {"patternProperties": {}}, "additional"),
        ({"not": {"pattern": "(?=a)"}}, {}, "not"),
        ({"contains": {"format": "phone"}, "minContains": 0}, {}, "minContains"),
        ({"if": {"foo": 1}, "then": {"type": "string"}}, {}, "then"),
        ({"oneOf": [{"format": "phone"}, {"type": "null"}]}, {"anyOf": [{}, {"type": "null"}]}, "oneOf[0].format"),
        ({"properties": {"b": {"foo": 1}}, "unevaluatedProperties": False}, {"properties": {"b": {}}}, "unevaluated"),
    ],
)
def test_what_the_policy_does_not_accept_is_dropped_and_named(part: Any, kept: Any, dropped: str):
    schema, notes = adopted(part)
    assert schema == kept
    assert any(note.startswith("properties.a") and dropped in note for note in notes)


def test_keywords_of_older_dialects_get_their_new_names():
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **of(a={"$ref": "#/definitions/A"}, b={"items": [{"type": "string"}], "additionalItems": False}),
        "definitions": {"A": {"type": "string"}},
    }
    assert adopt(schema).schema == {
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"prefixItems": [{"type": "string"}], "items": False}},
        "$defs": {"A": {"type": "string"}},
        "additionalProperties": False,
    }
    assert accepts(schema, {"a": "x", "b": ["y"]})
    assert not accepts(schema, {"a": 1})
    assert not accepts(schema, {"b": ["y", "z"]})


def test_a_reference_below_not_is_dropped_when_its_target_was_widened():
    schema = {**of(a={"not": {"$ref": "#/$defs/A"}}), "$defs": {"A": {"type": "string", "pattern": "(?=b)"}}}
    assert accepts(schema, {"a": "c"}), "the backend accepts it: only texts that match the pattern are excluded"


@pytest.mark.parametrize(
    ("schema", "refused"),
    [
        (of(a={}), True),
        ({"type": "object"}, True),
        (of(a={}) | {"additionalProperties": True}, False),
        (of(a={}) | {"additionalProperties": {"type": "integer"}}, False),
        (of(a={}) | {"patternProperties": {"^x": {}}}, False),
        ({"type": "object", "allOf": [of(a={})]}, False),
        (of(a={}) | {"required": ["other"]}, False),
    ],
)
def test_unnamed_arguments_are_refused_where_the_schema_says_nothing_about_them(schema: Json, refused: bool):
    result = adopt(schema)
    assert result.schema is not None
    assert (result.schema.get("additionalProperties") is False) is refused
    assert bool(result.notes) is (not refused or "properties" not in schema)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (None, "not the schema of an object"),
        ([], "not the schema of an object"),
        ({"type": "array"}, "not the schema of an object"),
        (of(**{str(number): {} for number in range(MAX_VALUES)}), "more than"),
        (of(**{"a" * 2000: {}}), "longer than"),
        (of(**{"a" + "\u0301" * 31: {}}), "combining marks"),
    ],
)
def test_schemas_that_cannot_be_adopted_say_why(schema: Any, why: str):
    result = adopt(schema)
    assert result.schema is None
    assert why in result.notes[0]


def test_confusable_arguments_are_reported():
    names = ("limit", "LIMIT", "\ufb01le", "file")
    notes = adopt(of(**dict.fromkeys(names, True))).notes
    assert len(notes) == 2
    assert all("confusable" in note for note in notes)


def test_nesting_without_end_is_cut():
    schema: Any = {"type": "string"}
    for _ in range(60):
        schema = {"type": "object", "properties": {"a": schema}}
    result = adopt(schema)
    assert result.schema is not None
    assert any("nested too deep" in note for note in result.notes)


KEYWORDS = st.sampled_from(
    [
        *("type", "properties", "items", "enum", "const", "pattern", "format", "not", "if", "then", "else", "oneOf"),
        *("anyOf", "allOf", "$ref", "$defs", "required", "minimum", "maxLength", "additionalProperties", "default"),
        *("patternProperties", "prefixItems", "contains", "dependentSchemas", "multipleOf"),
    ]
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(-9, 9)
    | st.sampled_from(["string", "object", "#", "(", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=25,
)


@given(st.dictionaries(KEYWORDS, ANYTHING, max_size=5))
def test_an_adopted_schema_is_one_that_the_policy_accepts(schema: Json):
    result = adopt(schema)
    assert result.notes or result.schema is not None
    if result.schema is not None:
        problems: list[Any] = []
        argument_rules(Document("", {}), (), result.schema, problems)
        assert problems == []


@given(st.dictionaries(KEYWORDS, ANYTHING, max_size=5), st.dictionaries(st.just("a"), ANYTHING, max_size=1))
def test_an_adopted_schema_accepts_every_call_that_the_backends_schema_accepts(part: Json, arguments: Json):
    schema = {**of(a=part), "additionalProperties": True}
    try:
        backend = Draft202012Validator(schema, offline=True, pattern_options=RegexOptions())
    except (ValidationError, ValueError):
        return
    result = adopt(schema)
    if result.schema is not None and backend.is_valid(arguments):
        rules = argument_rules(Document("", {}), (), result.schema, [])
        assert rules.invalid(arguments) is None, (schema, result.schema)
