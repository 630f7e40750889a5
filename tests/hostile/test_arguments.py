"""Arguments that make gate 4 work much harder than others of their size: each place is compared with benign ones."""

import random

import pytest

from sidecar.config.documents.merging import parse
from sidecar.errors import ErrorCode
from sidecar.model import Decision
from sidecar.policy.decide import decide
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.rules import Policy
from tests.hostile.work import assert_linear
from tests.policy.support import call, caller, one_tool, policy, problems
from tests.support.rig import STORE_POLICY, Json

N = 100_000
TREE = (
    "properties: {tree: {$ref: '#/$defs/tree'}}, $defs: {tree: {anyOf: [{type: string}, "
    "{type: object, properties: {below: {$ref: '#/$defs/tree'}}, required: [below]}, "
    "{type: object, properties: {below: {$ref: '#/$defs/tree'}}, required: [below], maxProperties: 3}]}}"
)


def accepting(schema: str) -> Policy:
    return policy(one_tool(f"arguments: {{{schema}}}"))


# What an ordinary policy asks of an ordinary value.
ORDINARY = accepting(
    "properties: {v: {pattern: '^[a-z]*$', items: {pattern: '^[a-z]*$', additionalProperties: {type: object}}}}, "
    "additionalProperties: {type: [array, string, integer, object]}"
)


def decided(compiled: Policy, arguments: Json, tool: str = "t", scope: str = "s") -> Decision:
    return decide(compiled, call(tool, arguments), caller(scope))


def assert_bounded(compiled: Policy, hostile: Json, benign: Json, tool="t", scope="s"):
    """Compare a refused call with an accepted one of the same number of values."""
    refusal = decided(compiled, hostile, tool, scope).refusal
    assert refusal is not None
    assert refusal.code in (ErrorCode.ARGUMENTS_REFUSED, ErrorCode.PARAMS_MALFORMED)
    assert decided(ORDINARY, benign).refusal is None
    assert_linear(lambda: decided(compiled, hostile, tool, scope), lambda: decided(ORDINARY, benign))


def test_a_long_list_of_wrong_items_for_the_shipped_policy():
    shipped = compile_policy([parse("storeinspect.yaml", STORE_POLICY.read_text())])
    hostile = {"contact_ids": [1] * N}
    assert_bounded(shipped, hostile, {"v": ["a"] * N}, "reveal_contacts", "contacts:reveal")
    refusal = decided(shipped, hostile, "reveal_contacts", "contacts:reveal").refusal
    assert refusal is not None
    assert refusal.detail == "contact_ids must have at most 100 elements."


PLACES = [
    ("properties: {v: {type: array, items: {type: string}}}", [1] * N),
    ("properties: {v: {type: array, items: {type: integer}}}", [1] * N + ["x"]),
    ("properties: {v: {items: {anyOf: [{type: string}, {type: object}, {const: 3}]}}}", [1] * N),
    ("properties: {v: {items: {oneOf: [{type: string}, {type: object}, {const: 3}]}}}", [1] * N),
    ("properties: {v: {items: {allOf: [{type: string}, {minLength: 3}, {not: {const: 1}}]}}}", [1] * N),
    ("properties: {v: {items: {not: {type: integer}}}}", [1] * N),
    ("properties: {v: {items: {if: {type: integer}, then: {maximum: 0}}}}", [1] * N),
    ("properties: {v: {contains: {type: string}, minContains: 2}}", [1] * N),
    ("properties: {v: {uniqueItems: true}}", [1] * N),
    ("properties: {v: {uniqueItems: true}}", [2**70 + i for i in range(N)]),
    ("properties: {v: {uniqueItems: true}}", [{"a": {"b": [2**70 + i]}} for i in range(N // 4)]),
    ("properties: {v: {prefixItems: [{}], items: false}}", [1] * N),
    ("properties: {v: {items: {type: string}, unevaluatedItems: false}}", [1] * N),
    (
        "properties: {v: {anyOf: [{prefixItems: [{type: integer}]}, {contains: {const: 2}}], unevaluatedItems: false}}",
        [1] * N,
    ),
    ("properties: {v: {items: {enum: [a, b, c, {d: [1, 2, 3]}]}}}", [1] * N),
    ("properties: {v: {items: {const: [1, 2, 3]}}}", [[1, 2, 4]] * (N // 4)),
    ("properties: {v: {maxLength: 3}}", "\u0301" * N),
]


@pytest.mark.parametrize(("schema", "value"), PLACES)
def test_no_keyword_takes_more_than_a_few_passes(schema: str, value: list[object] | str):
    benign = ["a"] * N if isinstance(value, list) else "a" * N
    assert_bounded(accepting(schema), {"v": value}, {"v": benign})


def test_comparing_elements_takes_a_few_passes_where_they_are_not_unique():
    compiled = accepting("properties: {v: {uniqueItems: true}}")
    twice, once = {"v": [*range(N), 0]}, {"v": [*range(N)]}
    assert decided(compiled, once).refusal is None
    assert_linear(lambda: decided(compiled, twice), lambda: decided(compiled, once))


FORMATS = [
    ("email", "a@"),
    ("idn-email", "\u00e9@"),
    ("idn-hostname", "\u4f8b."),
    ("idn-hostname", "\u0301\u0316"),
    ("hostname", "xn--a."),
    ("uri", "http://%4"),
    ("iri", "\u00e9/"),
    ("uri-template", "{a,"),
    ("date-time", "2026-"),
    ("duration", "P1D"),
    ("json-pointer", "/~"),
    ("ipv6", "1:"),
    ("uuid", "0-"),
]


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "(a|aa)+b$", "(.*a){7}!", "^(([a-z])+.)+[A-Z]([a-z])+$", "^(a?){8}a{8}b"]
)
def test_patterns_take_time_in_proportion_to_the_text(pattern: str):
    compiled = accepting(f"properties: {{v: {{pattern: '{pattern}'}}}}")
    long, short = {"v": "a" * (4 * N) + "!"}, {"v": "a" * N + "!"}
    assert_linear(lambda: decided(compiled, long), lambda: decided(compiled, short), most=8)


@pytest.mark.parametrize(("name", "part"), FORMATS)
def test_formats_take_time_in_proportion_to_the_text(name: str, part: str):
    compiled = accepting(f"properties: {{v: {{format: {name}}}}}")
    long, short = {"v": part * (4 * N)}, {"v": part * N}
    assert_linear(lambda: decided(compiled, long), lambda: decided(compiled, short), most=8)


def test_the_regex_format_is_an_error_of_the_policy():
    """Reading named groups takes quadratic time: a second for 400 KB."""
    (problem,) = problems(one_tool("arguments: {properties: {v: {format: regex}}}"))
    assert "takes too long" in problem


@pytest.mark.parametrize("place", ["items: {multipleOf: 0.01}", "allOf: [{multipleOf: 0.01}]"])
def test_many_values_are_not_divided_by_a_fraction(place: str):
    """One exact division takes up to a microsecond, and a caller chooses how many numbers there are."""
    (problem,) = problems(one_tool(f"arguments: {{properties: {{v: {{{place}}}}}}}"))
    assert "takes too long to divide many values by" in problem
    policy(one_tool("arguments: {properties: {v: {multipleOf: 0.01}}}"))


@pytest.mark.parametrize(
    "schema",
    [
        "propertyNames: {maxLength: 3}",
        "additionalProperties: {type: string}",
        "properties: {a: {}}, additionalProperties: false",
        "properties: {a: {}}, unevaluatedProperties: false",
        "maxProperties: 10",
        "anyOf: [{properties: {a: {}}}, {propertyNames: {maxLength: 3}}], unevaluatedProperties: {type: string}",
        "dependentSchemas: {key1: {additionalProperties: {type: string}}}",
    ],
)
def test_no_keyword_takes_more_than_a_few_passes_over_many_members(schema: str):
    members = {f"key{i}": i for i in range(N // 4)}
    assert_bounded(accepting(schema), members, members)


@pytest.mark.parametrize("levels", [1, 8, 12, 20, 60])
def test_a_schema_with_two_self_references_does_not_explode(levels: int):
    """The validator would make an error for each of 2 ** levels ways."""
    compiled = accepting(TREE)
    hostile: object = 1
    benign: object = "leaf"
    for _ in range(levels):
        hostile, benign = {"below": hostile}, {"below": benign}
    assert decided(compiled, {"tree": benign}).refusal is None
    assert_bounded(compiled, {"tree": hostile}, {"tree": benign})


def test_many_trees_of_a_recursive_schema():
    compiled = accepting(TREE.replace("{tree: {$ref", "{trees: {items: {$ref", 1).replace("}}, $defs", "}}}, $defs", 1))
    hostile: object = 1
    for _ in range(20):
        hostile = {"below": hostile}
    assert_bounded(compiled, {"trees": [hostile] * 2000}, {"v": [hostile] * 2000})


@pytest.mark.parametrize("pattern", ["(?=a)b", "(?<!a)b", r"(a)\1"])
def test_patterns_that_need_backtracking_are_errors_of_the_policy(pattern: str):
    (problem,) = problems(one_tool(f"arguments: {{properties: {{v: {{pattern: '{pattern}'}}}}}}"))
    assert "pattern" in problem
    assert "not valid JSON Schema" in problem


@pytest.mark.parametrize("pattern", [r"\p{L}{500}", r"^(\p{L}{1,50}-){50}$"])
def test_patterns_that_are_very_large_when_compiled_are_errors_of_the_policy(pattern: str):
    (problem,) = problems(one_tool(f"arguments: {{properties: {{v: {{pattern: '{pattern}'}}}}}}"))
    assert "too large when compiled" in problem
    assert "fewer repetitions" in problem


@pytest.mark.parametrize("pattern", [r"^\p{L}{1,100}$", "^[^@]{1,64}@[^@]{1,255}$", "^[A-Za-z0-9_-]{1,128}$"])
def test_patterns_of_honest_policies_are_accepted(pattern: str):
    assert accepting(f"properties: {{v: {{pattern: '{pattern}'}}}}")


@pytest.mark.parametrize("pattern", ["(a|b|ab){1,3}[cd]", "^[ab]{1,200}$", "^[^@]{1,64}@[^@]{1,255}$"])
def test_repetitions_take_time_in_proportion_to_the_text(pattern: str):
    compiled = accepting(f"properties: {{v: {{pattern: '{pattern}'}}}}")
    long, short = {"v": "ab" * (2 * N) + "!"}, {"v": "ab" * (N // 2) + "!"}
    assert_linear(lambda: decided(compiled, long), lambda: decided(compiled, short), most=8)


DEAR = "^[ab]*a[ab]{200}[^ab][^ab]"


def test_a_pattern_with_overlapping_repeats_needs_a_limit():
    """A text over two letters once took up to seven microseconds a byte."""
    (problem,) = problems(one_tool(f"arguments: {{properties: {{v: {{pattern: '{DEAR}'}}}}}}"))
    assert "may be at 202 places of it at once" in problem
    assert "maxLength: 123" in problem


def test_a_text_that_is_too_long_for_a_dear_pattern_is_not_matched():
    compiled = accepting(f"properties: {{v: {{pattern: '{DEAR}', maxLength: 123}}}}")
    dice = random.Random(1)
    hostile = "".join(dice.choices("ab", k=2 * N))
    assert_bounded(compiled, {"v": hostile}, {"v": "a" * (2 * N)})
