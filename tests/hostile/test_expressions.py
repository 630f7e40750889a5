"""Price expressions over input that a caller or a backend chooses: linear, counted in steps, or refused."""

from typing import Any

import pytest

from sidecar.errors import ErrorCode
from sidecar.model import AmountKind, Demand
from sidecar.outcome import CHARGE_RESERVE
from sidecar.policy import pricing
from sidecar.policy.decide import decide
from sidecar.policy.expressions.expressions import (
    AFTER,
    BEFORE,
    DEFAULT_ITEMS,
    STEPS_AFTER,
    STEPS_BEFORE,
    Expression,
    ExpressionError,
    ValueRefusedError,
    compile_expression,
)
from sidecar.policy.expressions.step_budget import Steps
from tests.hostile.work import assert_linear
from tests.policy.support import call, caller, one_tool, policy

N = 50_000

WALKS = [
    "length(arguments.l[])",
    "sum(arguments.l[].n)",
    "length(arguments.l[?n > `1`])",
    "length(arguments.l[?contains(to_string(@), 'x')])",
    "length(sort_by(arguments.l, &n))",
    "max_by(arguments.l, &n).n",
    "length(map(&n, arguments.l))",
    "length(arguments.l[*].[n, n][])",
    "length(arguments.o.*)",
]


@pytest.mark.parametrize("text", WALKS)
def test_a_long_list_of_a_caller_is_refused_unread(text: str):
    expression = compile_expression(text, BEFORE)
    elements = [{"n": 1}] * N
    with pytest.raises(ValueRefusedError, match="has too many elements to evaluate"):
        expression.value({"arguments": {"l": elements, "o": dict(enumerate(elements))}})
    assert expression.value({"arguments": {"l": elements[:400], "o": dict(enumerate(elements[:400]))}}) is not None


SHAPES = [
    ("length(arguments.l[?n > `1`])", {"n": 1}),
    ("length(arguments.l[?!a && !b || n])", {"n": 1}),
    ("length(arguments.l[*].{a: n, b: n})", {"n": 1}),
    ("length(arguments.l[*].[n, n][])", {"n": 1}),
    ("length(arguments.l[?contains(to_string(@), 'x')])", 1),
    ("length(arguments.l[].to_string(@))", 1),
    ("length(arguments.l[].to_string(@))", {"a": 1}),
    ("length(arguments.l[*].[abs(@), ceil(@)][])", 1),
    ("length(arguments.l[*].to_number(@))", "x"),
    ("length(arguments.l[*].keys(@))", {"n": 1}),
    ("length(arguments.l[*].merge(@, @))", {"n": 1}),
    ("length(arguments.l[*].not_null(a, b, n))", {"n": 1}),
    ("length(arguments.l[*].join('-', @))", ["a"]),
    ("length(arguments.l[*].sort(@))", [1]),
    ("length(arguments.l[*].sum(@))", [1]),
    ("length(arguments.l[*].sort_by(@, &@))", [1]),
    ("length(arguments.l[*].map(&@, @))", []),
    ("length(arguments.l[*][0:1])", [1]),
    ("length(arguments.l[*].[*])", [1]),
    ("length(sort_by(arguments.l, &n))", {"n": 1}),
    ("length(map(&n, arguments.l))", {"n": 1}),
    ("sum(arguments.l[].n)", {"n": 1}),
]


def longest(expression: Expression, element: object) -> list[object]:
    """Return the longest list of this element that takes no more steps than there are, to a sixteenth."""
    length = 16
    while True:
        more = [element] * (length + length // 16)
        try:
            expression.value({"arguments": {"l": more}})
        except ValueRefusedError:
            return [element] * length
        length = len(more)


@pytest.mark.parametrize(("text", "element"), SHAPES)
def test_all_steps_of_a_small_body_cost_a_few_passes_of_fields(text: str, element: object):
    """A call once checked the types of its arguments at every element, and a field of a number raised an exception."""
    expression, fields = compile_expression(text, BEFORE), compile_expression("length(arguments.l[].n)", BEFORE)
    hostile, benign = longest(expression, element), longest(fields, {"n": 1})
    assert len(hostile) >= 200
    assert_linear(
        lambda: expression.value({"arguments": {"l": hostile}}),
        lambda: fields.value({"arguments": {"l": benign}}),
        most=5,
    )


@pytest.mark.parametrize("text", ["length(arguments.l[?n > `1`])", "sum(arguments.l[].n)", "max_by(arguments.l, &n).n"])
def test_the_expressions_of_a_call_share_its_steps(text: str):
    """Each expression once had all steps for itself, so a tool of many amounts multiplied the work of a call."""
    expression = compile_expression(text, BEFORE)
    amount = pricing.Amount(AmountKind.QUOTA, "rows", "policy.yaml:1", reserve=expression)
    prices = pricing.Prices.of([amount] * 12, None, DEFAULT_ITEMS)
    many, few = ({"l": [{"n": 1}] * length} for length in (900, 100))
    with pytest.raises(ValueRefusedError, match="has too many elements to evaluate"):
        pricing.demands(prices, many, None)
    assert len(pricing.demands(prices, few, None)) == 12
    assert expression.value({"arguments": many}) is not None


def reserved(text: str, elements: list[Any], items: int = 5000) -> int:
    """Units of one amount with the longest list of items that a config accepts."""
    amount = pricing.Amount(AmountKind.QUOTA, "rows", "policy.yaml:1", reserve=compile_expression(text, BEFORE, items))
    (demand,) = pricing.demands(pricing.Prices.of([amount], None, items), {"l": elements}, None)
    return demand.reserve


@pytest.mark.parametrize("text", ["length(arguments.l[].to_string(@))", "length(map(&abs(@), arguments.l))"])
def test_steps_beyond_those_of_a_small_input_depend_on_its_bytes(text: str):
    """With `limits.items: 5000`, ten kilobytes of small elements once cost four times what their bytes may."""
    with pytest.raises(ValueRefusedError, match="has too many elements to evaluate"):
        reserved(text, [1] * 5000)
    assert reserved(text, [1] * 1000) == 1000
    assert reserved(text, [10**9] * 5000) == 5000


def test_the_expressions_of_a_settlement_share_its_steps():
    settle = compile_expression("length(data.l[].to_number(@))", AFTER)
    amount = pricing.Amount(AmountKind.QUOTA, "rows", "policy.yaml:1", reserve=1, settle=settle)
    prices, reserved = pricing.Prices.of([amount] * 3, None, DEFAULT_ITEMS), [Demand(AmountKind.QUOTA, "rows", 1)] * 3
    rows = ["1234567890"] * 12_000
    settled = pricing.charges(prices, reserved, {}, None, {"structuredContent": {"l": rows}})
    assert 1 <= len(settled.failures) < 3


@pytest.mark.parametrize("text", ["length(arguments.l[?n > `1`])", "sum(arguments.l[].n)", "max_by(arguments.l, &n).n"])
def test_three_expressions_over_the_most_items_are_few_steps(text: str):
    steps = Steps(DEFAULT_ITEMS * STEPS_BEFORE)
    for _ in range(3):
        compile_expression(text, BEFORE).value({"arguments": {"l": [{"n": 1}] * DEFAULT_ITEMS}}, steps)


@pytest.mark.parametrize(
    ("text", "long"),
    [
        ("sort(arguments.v)[0]", [f"{'x' * 100}{i * 7919 % N}" for i in range(N)]),
        ("length(sort(arguments.v))", [i * 7919 % N for i in range(N)]),
        ("max(arguments.v)", [i * 7919 % N for i in range(N)]),
        ("length(reverse(arguments.v))", [1] * N),
        ("length(join('-', arguments.v))", ["", "a"] * (N // 2)),
        ("contains(arguments.v, arguments.w)", [["x"] * 9] * N),
        ("contains(arguments.v, arguments.w)", "a" * (20 * N)),
        ("length(to_string(arguments.v))", ["\x01"] * N),
        ("arguments.v == arguments.w", [[1]] * N),
        ("sum(arguments.v)", [10**300] * N),
        ("to_number(arguments.v)", "9" * N),
    ],
)
def test_functions_take_time_in_proportion_to_their_input(text: str, long: Any):
    expression = compile_expression(text, BEFORE)
    other: Any = "a" * 1000 + "b" if isinstance(long, str) else [["x"] * 8]
    hostile, benign = ({"arguments": {"v": value, "w": other}} for value in (long, long[: len(long) // 5]))
    assert_linear(lambda: expression.value(hostile), lambda: expression.value(benign))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("length(join(arguments.a, arguments.b))", "separator"),
        ("length(arguments.l[*].join(sep, parts)[])", "separator"),
        (f"length({' | '.join(['[arguments.l, arguments.l][]', *['[@, @][]'] * 20])})", "repeat its input"),
        (f"length({'[' * 1}{', '.join(['arguments.l'] * 33)}])", "repeat its input"),
        ("length(to_string(to_array(to_string(to_array(arguments.l)))))", "repeat its input"),
        (f"length(join('{'-' * 40}', arguments.l))", "repeat its input"),
        ("length(map(&[@, @, @, @, @, @], arguments.l)[].[@, @, @, @, @, @][])", "repeat its input"),
        ("length(arguments.l[?contains([@,@,@,@,@,@][].[@,@,@,@,@,@][], x)])", "repeat its input"),
    ],
)
def test_an_expression_that_may_outgrow_its_input_is_an_error_of_the_policy(text: str, reason: str):
    with pytest.raises(ExpressionError, match=reason):
        compile_expression(text, BEFORE)


def test_steps_grow_with_the_longest_list_of_items():
    assert compile_expression("length(arguments.l)", BEFORE, 7).steps == 7 * STEPS_BEFORE
    assert compile_expression("length(data.l)", AFTER, 7).steps == 7 * STEPS_AFTER


def test_a_call_that_would_take_too_many_steps_is_refused():
    compiled = policy(one_tool("arguments: {properties: {l: {}}}\nuses: {rows: 'sum(arguments.l[].n)'}"))
    refusal = decide(compiled, call("t", {"l": [{"n": 1}] * N}), caller("s")).refusal
    assert refusal is not None
    assert refusal.code is ErrorCode.ARGUMENTS_REFUSED
    assert refusal.detail == "This call cannot be priced: `sum(arguments.l[].n)` has too many elements to evaluate."


def test_a_result_that_would_take_too_many_steps_charges_what_was_reserved():
    body = "uses: {rows: {reserve: 3, settle: 'sum(data.l[].n)'}}\nrows: sum(data.l[].n)"
    prices = policy(one_tool(body)).tools["t"].prices
    rows = [{"n": 1}] * (DEFAULT_ITEMS * STEPS_AFTER)
    settled = pricing.charges(
        prices, [Demand(AmountKind.QUOTA, "rows", 3)], {}, None, {"structuredContent": {"l": rows}}
    )
    assert (settled.charges, settled.rows) == ((CHARGE_RESERVE,), None)
    assert "has too many elements to evaluate" in settled.failures[0]
    ordinary = {"structuredContent": {"l": rows[:20_000]}}
    assert pricing.charges(prices, [Demand(AmountKind.QUOTA, "rows", 3)], {}, None, ordinary).rows == 20_000


@pytest.mark.parametrize("given", [["x" * 1025], ["a"] * 501, ["a"] * N, [1] * N])
def test_items_are_few_and_short(given: list[Any]):
    """Items that were paid are kept for good: neither their number nor their length is the caller's to choose."""
    compiled = policy(one_tool("arguments: {properties: {l: {}}}\nspends: {credit: {items: arguments.l, once: true}}"))
    refusal = decide(compiled, call("t", {"l": given}), caller("s")).refusal
    assert refusal is not None
    assert refusal.code is ErrorCode.ARGUMENTS_REFUSED
    most = ["x" * 1021 + f"{i:03}" for i in range(500)]
    assert decide(compiled, call("t", {"l": most}), caller("s")).demands[0].items == tuple(most)
