"""Arguments that are accepted in one pass are those that the complete rules accept, completed alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import event, given, reject, settings
from hypothesis import strategies as st

from sidecar.config.documents.merging import DocumentError
from sidecar.errors import Refusal
from sidecar.model import MAX_AMOUNT
from sidecar.policy.arguments import ArgumentRules
from tests.policy.support import one_tool, policy

NAMES = ["a", "b", "A", "constructor"]
NUMBERS = st.sampled_from([-MAX_AMOUNT - 1, -1, 0, 1, 1.0, 1.5, 2, 3, 2.0, MAX_AMOUNT, MAX_AMOUNT + 1, 10**300, 1e300])
TEXTS = st.sampled_from(["", "x", "xy", "\U0001f600", "e\u0301", "x" * 5])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(NAMES), SCALARS, max_size=2)
ARGUMENTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3)

TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
COUNTS = st.integers(0, 3)
BOUNDS = st.sampled_from([-1, 0, 1, 1.5, 2.0, 2, MAX_AMOUNT + 1])
KEYWORDS: dict[str, st.SearchStrategy[Any]] = {
    "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
    "enum": st.lists(SCALARS, min_size=1, max_size=3, unique_by=repr),
    "const": SCALARS,
    "minimum": BOUNDS,
    "maximum": BOUNDS,
    "exclusiveMinimum": BOUNDS,
    "multipleOf": st.sampled_from([2, 0.5]),
    "minLength": COUNTS,
    "maxLength": COUNTS,
    "minItems": COUNTS,
    "description": st.just("A value."),
    "pattern": st.just("^x"),
    "format": st.just("email"),
    "default": SCALARS,
}
PROPERTIES = st.booleans() | st.fixed_dictionaries({}, optional=KEYWORDS)
SCHEMAS = st.fixed_dictionaries(
    {"properties": st.dictionaries(st.sampled_from(NAMES), PROPERTIES, max_size=3)},
    optional={
        "required": st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
        "additionalProperties": st.booleans() | PROPERTIES,
        "minProperties": COUNTS,
        "propertyNames": st.just({"maxLength": 1}),
        "anyOf": st.lists(PROPERTIES, min_size=1, max_size=2),
        "type": st.just("object"),
    },
)


def rules(body: str) -> ArgumentRules:
    return policy(one_tool(body)).tools["t"].arguments


WITHOUT_SCHEMA = rules("rows: length(data.rows)")


def verdict(judge: Callable[[dict[str, Any]], Any], arguments: dict[str, Any]) -> str:
    """Return the completed arguments or the refusal as text: 1, 1.0 and true are equal."""
    try:
        found = judge(arguments)
    except Refusal as refusal:
        found = refusal
    return f"{found.code} {found.detail} {dict(found.specifics)}" if isinstance(found, Refusal) else repr(found)


def agrees(rules: ArgumentRules, arguments: dict[str, Any]) -> bool:
    """Check the quick answer and the one that calls get; return whether there was a quick one."""
    complete = verdict(lambda given: rules.refusal(given) or rules.complete(given), arguments)
    assert verdict(rules.accepted, arguments) == complete
    quick = None if rules.plain is None else rules.plain.accepted(arguments)
    assert quick is None or repr(quick) == complete
    return quick is not None


@settings(max_examples=300)
@given(st.data(), SCHEMAS)
def test_quick_answers_are_those_of_the_complete_rules(data: st.DataObject, schema: dict[str, Any]):
    try:
        compiled = rules(f"arguments: {json.dumps(schema)}")
    except DocumentError:
        reject()  # a default that the schema refuses, or a number too large for a limit
    for arguments in data.draw(st.lists(ARGUMENTS, min_size=5, max_size=20)):
        event(f"quick: {agrees(compiled, arguments)}")


@given(ARGUMENTS)
def test_quick_answers_without_a_schema_are_those_of_the_complete_rules(arguments: dict[str, Any]):
    agrees(WITHOUT_SCHEMA, arguments)


SCHEMA = """
    arguments:
      properties:
        text: {type: string}
        short: {type: string, minLength: 1, maxLength: 4, description: A word.}
        limit: {type: integer, minimum: 1, maximum: 100, default: 25}
        share: {type: [number, "null"]}
        order: {enum: [up, down]}
        sure: {type: boolean}
        any: {}
      required: [text]
      additionalProperties: false
    """


@pytest.mark.parametrize(
    ("arguments", "completed"),
    [
        ({"text": ""}, {"text": "", "limit": 25}),
        ({"text": "x" * 10_000, "limit": 100}, {"text": "x" * 10_000, "limit": 100}),
        ({"text": "a", "limit": 1, "short": "\U0001f600" * 4}, {"text": "a", "limit": 1, "short": "\U0001f600" * 4}),
        *(
            ({"text": "a", "limit": 1, name: value}, {"text": "a", "limit": 1, name: value})
            for name, value in (("share", None), ("share", 0.5), ("order", "up"), ("sure", False), ("any", MAX_AMOUNT))
        ),
    ],
)
def test_ordinary_arguments_get_a_quick_answer(arguments: dict[str, Any], completed: dict[str, Any]):
    compiled = rules(SCHEMA)
    assert agrees(compiled, arguments)
    assert compiled.accepted(arguments) == completed
    assert agrees(WITHOUT_SCHEMA, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"text": "a", "limit": 0},
        {"text": "a", "limit": 101},
        {"text": "a", "limit": True},
        {"text": "a", "limit": 2.0},
        {"text": "a", "short": "12345"},
        {"text": "a", "order": "left"},
        {"text": "a", "sure": 1},
        {"text": "a", "any": MAX_AMOUNT + 1},
        {"text": "a", "any": [1]},
        {"text": "a", "Limit": 1},
        {"text": "a", "constructor": 1},
        {"text": ["a"]},
    ],
)
def test_the_complete_rules_judge_all_others(arguments: dict[str, Any]):
    assert not agrees(rules(SCHEMA), arguments)


def test_arguments_that_need_no_default_are_not_copied():
    arguments = {"text": "a", "limit": 1}
    assert rules(SCHEMA).accepted(arguments) is arguments
    assert WITHOUT_SCHEMA.accepted(arguments) is arguments


@pytest.mark.parametrize(
    "body",
    [
        "confirm: {argument: sure, inject: true}",
        "arguments: {properties: {a: {}}, patternProperties: {'^b$': {type: string}}}",
        "arguments: {properties: {a: {}}, dependentRequired: {a: [b]}}",
        "arguments: {properties: {a: {}}, not: {required: [a]}}",
    ],
)
def test_tools_whose_arguments_depend_on_each_other_have_no_quick_answers(body: str):
    assert rules(body).plain is None
