"""Compiled JMESPath gives the results of the library's interpreter."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jmespath
from hypothesis import given, settings
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from sidecar.policy.expressions.compiling import compile_tree
from sidecar.policy.expressions.step_budget import NO_STEPS, Steps, TooManyStepsError, takes_steps

FAILED = object()

SCALARS = st.sampled_from([None, True, False, 0, 1, -1, 2, 0.0, 1.0, 1.5, "", "a", "b", "1", "\u00e9", "x"])
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=4) | st.dictionaries(st.sampled_from("abn"), below, max_size=3)
)
EXPRESSIONS = [
    *(
        "@",
        "a",
        "a.b",
        "a.b.n",
        "a[0]",
        "a[-1]",
        "a[5]",
        "a[-5]",
        "@[0]",
        "a[1:]",
        "a[::-1]",
        "a[:1].n",
        "'x'",
        "`[1]`",
    ),
    *("a[*]", "a[*].n", "a[*].b.n", "a[]", "a[].n", "a[][]", "[]", "[].a[].b", "*", "a.*", "*.n", "a.*.b", "*[]"),
    *(
        "a[?n]",
        "a[?n > `1`]",
        "[?@ > `1`]",
        "[?@ == `1`]",
        "[?@ == `true`]",
        "[?@ != `0`]",
        "[?a == b].n",
        "a[?@ <= 'a']",
    ),
    *("a || b", "a && b", "!a", "!a && b || n", "a == b", "a != b", "a < b", "a >= b", "a | [0]", "a[*] | [0]"),
    *("[a, b]", "{x: a, y: b.n}", "a[*].[n, b][]", "a[*].{x: n}", "a[?!n]", "[a, [b, n]]", "a[?b && !n].b"),
    *(
        "map(&n, a)",
        "map(&@, a)",
        "map(&b[].n, a)",
        "sort_by(a, &n)",
        "max_by(a, &n)",
        "min_by(a, &n).n",
        "sort_by(@, &@)",
    ),
    *("a[*].to_string(@)", "[?contains(to_string(@), 'a')]", "a[?length(@) > `0`]", "not_null(a, b, n)", "merge(a, b)"),
    *(
        "join(',', a)",
        "contains(a, b)",
        "starts_with(a, b)",
        "to_array(a)",
        "[*].type(@)",
        "[*].to_number(@)",
        "length(@)",
    ),
]
ONE_VALUE = sorted(
    name
    for name, spec in Functions.FUNCTION_TABLE.items()
    if len(spec["signature"]) == 1 and "variadic" not in spec["signature"][0]
)
EXPRESSIONS += [f"{name}({inner})" for name in ONE_VALUE for inner in ("@", "a", "a[*].n")]


def outcome(run: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return json.dumps(run(*arguments), default=repr)
    except TooManyStepsError:
        raise
    except (JMESPathError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError):
        return FAILED


PARSED = [(text, jmespath.compile(text)) for text in EXPRESSIONS]
COMPILED = [compile_tree(parsed.parsed) for _, parsed in PARSED]


# All expressions on each value: making a value takes longer than evaluating them.
@settings(max_examples=100)
@given(VALUES)
def test_results_are_those_of_the_library(value: Any):
    wrong = [
        (text, found, right)
        for (text, parsed), compiled in zip(PARSED, COMPILED, strict=True)
        if (found := outcome(compiled.run, value, Steps(10**6))) != (right := outcome(parsed.search, value))
    ]
    assert wrong == []


@settings(max_examples=100)
@given(VALUES)
def test_only_loops_and_encoders_take_steps(value: Any):
    """Evaluations without them have no budget, so they must not take a step."""
    wrong = []
    for (text, parsed), compiled in zip(PARSED, COMPILED, strict=True):
        try:
            outcome(compiled.run, value, NO_STEPS)
        except TooManyStepsError:
            if not takes_steps(parsed.parsed):
                wrong.append(text)
    assert wrong == []


def test_a_price_without_loops_takes_no_steps():
    free = ["a.b.n", "length(a.b)", "a[0].n", "a.b || n", "a == b", "[a, b]", "contains(a, b)", "'x'"]
    assert [text for text in free if takes_steps(jmespath.compile(text).parsed)] == []
    loops = ["length(a[])", "a[1:]", "a[*].n", "a.*", "a[?n]", "sort_by(a, &n)", "[to_string(a)]", "length(a[?n]) == n"]
    assert [text for text in loops if not takes_steps(jmespath.compile(text).parsed)] == []
