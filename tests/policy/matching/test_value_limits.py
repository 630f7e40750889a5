"""Keywords that cost time for each of many values are errors of the policy, unless there are few."""

from __future__ import annotations

import pytest

from tests.policy.support import one_tool, policy, problems


def arguments(schema: str) -> str:
    return one_tool(f"arguments: {{{schema}}}")


OBJECTS = ", ".join(f"{{a: {number}}}" for number in range(40))
TEXTS = ", ".join(f"t{number}" for number in range(2000))
CONSTANTS = ", ".join(f"{{const: t{number}}}" for number in range(60))
DEAR = {
    "fractions in a list": ("properties: {v: {items: {enum: [0.5, 1.5]}}}", "fractions take too long"),
    "a fraction below a list": ("properties: {v: {items: {properties: {x: {const: 0.5}}}}}", "fractions take too long"),
    "fractions within values": ("properties: {v: {items: {enum: [[a, {b: 0.5}]]}}}", "fractions take too long"),
    "fractions of other properties": ("additionalProperties: {enum: [0.5]}", "fractions take too long"),
    "a list in a short list": (
        "properties: {v: {maxItems: 9, items: {items: {enum: [0.5]}}}}",
        "fractions take too long",
    ),
    "many fractions for one value": (
        f"properties: {{v: {{enum: [{', '.join(f'{n}.5' for n in range(501))}]}}}}",
        "fractions take too long",
    ),
    "many objects": (f"properties: {{v: {{items: {{enum: [{OBJECTS}]}}}}}}", "its 40 values are compared one by one"),
    "texts and null": (f"properties: {{v: {{items: {{enum: [{TEXTS}, null]}}}}}}", "its 2001 values are compared"),
    "a definition": (f"$defs: {{d: {{enum: [{OBJECTS}]}}}}", "its 40 values are compared one by one"),
    "many alternatives": (f"properties: {{v: {{items: {{anyOf: [{CONSTANTS}]}}}}}}", "more than 50 schemas judge"),
    "alternatives behind references": (
        f"properties: {{v: {{items: {{allOf: [{{$ref: '#/$defs/d'}}]}}}}}}, $defs: {{d: {{oneOf: [{CONSTANTS}]}}}}",
        "more than 50 schemas judge",
    ),
    "names": (f"propertyNames: {{anyOf: [{CONSTANTS}]}}", "more than 50 schemas judge"),
}


@pytest.mark.parametrize(("schema", "wrong"), DEAR.values(), ids=DEAR)
def test_what_costs_time_for_each_value_is_an_error(schema: str, wrong: str):
    (problem,) = problems(arguments(schema))
    assert wrong in problem


ACCEPTED = {
    "fractions for one value": "properties: {v: {enum: [0.5, 1.5]}, w: {properties: {x: {const: 0.5}}}}",
    "fractions in a short list": "properties: {v: {maxItems: 100, items: {enum: [0.5, 1.5]}}}",
    "texts": f"properties: {{v: {{items: {{enum: [{TEXTS}]}}}}}}",
    "integers": "properties: {v: {items: {enum: [1, 2, 3]}}}",
    "objects for one value": f"properties: {{v: {{enum: [{OBJECTS}]}}}}",
    "alternatives for one value": f"properties: {{v: {{anyOf: [{CONSTANTS}]}}}}",
    "a short list": f"properties: {{v: {{maxItems: 100, items: {{anyOf: [{CONSTANTS}]}}}}}}",
    "a property of that name": "properties: {items: {enum: [0.5]}, $defs: {const: 0.5}}",
    "recursion": (
        "properties: {v: {$ref: '#/$defs/d'}}, $defs: {d: {anyOf: [{type: string}, {items: {$ref: '#/$defs/d'}}]}}"
    ),
}


@pytest.mark.parametrize("schema", ACCEPTED.values(), ids=ACCEPTED)
def test_other_schemas_are_accepted(schema: str):
    policy(arguments(schema))
