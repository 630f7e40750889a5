import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.expressions.expressions import (
    AFTER,
    BEFORE,
    ExpressionError,
    ValueRefusedError,
    compile_expression,
)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("arguments.limit", {("arguments", "limit")}),
        ("length(arguments.ids)", {("arguments", "ids")}),
        ("arguments.ids[0]", {("arguments", "ids"), ("arguments", "ids", 0)}),
        ("arguments.page.size || `25`", {("arguments", "page", "size")}),
        ("arguments.items[].id", {("arguments", "items"), ("arguments", "items", 0, "id")}),
        ("arguments.items[?paid].id", {*(("arguments", "items", *rest) for rest in ((), (0, "paid"), (0, "id")))}),
        ("arguments.ids[0:2]", {("arguments", "ids"), ("arguments", "ids", 0)}),
        ("sort_by(arguments.items, &id)[0].id", {("arguments", "items")}),
        ("arguments.a | b", {("arguments", "a", "b")}),
        ("{x: arguments.a}.x", {("arguments", "a")}),
        ("[arguments.a, meta.b][0]", {("arguments", "a"), ("meta", "b")}),
        ("arguments.prices.*", {("arguments", "prices")}),
        ("!(arguments.a) && arguments.b > `1`", {("arguments", "a"), ("arguments", "b")}),
        ('arguments."a b"', {("arguments", "a b")}),
        ("`3`", set()),
    ],
)
def test_reads_are_known_at_load_time(text, reads):
    assert compile_expression(text, BEFORE).reads == reads


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("argument.limit", "reads 'argument'; only arguments and meta can be read here"),
        ("data.rows", "reads 'data'"),
        ("length(limit)", "reads 'limit'"),
        ("@", "by name"),
        ("keys(@)", "by name"),
        ("*", "by name"),
        ("arguments", "name the argument"),
        ("arguments.*", "name the argument"),
        ("length(arguments)", "name the argument"),
        ("arguments[]", "name the argument"),
        ("arguments | keys(@)", "name the argument"),
        ("[arguments][0].limit", "name the argument"),
        ("{a: arguments}", "name the argument"),
        ("arguments || meta", "name the argument"),
        ("!arguments.a", "name the argument"),  # JMESPath reads (!arguments).a, which is always null
        ("foo(arguments.a)", "no function"),
        ("length()", "it takes 1"),
        ("length(arguments.a, arguments.b)", "it takes 1"),
        ("not_null()", "at least 1"),
        ("arguments.", "not a JMESPath expression"),
        ("", "not a JMESPath expression"),
        ("arguments.limit +1", "not a JMESPath expression"),
    ],
)
def test_reads_without_a_name_are_refused(text, message):
    with pytest.raises(ExpressionError, match=message):
        compile_expression(text, BEFORE)


def test_settling_reads_results_too():
    assert compile_expression("length(data.rows)", AFTER).reads == {("data", "rows")}
    with pytest.raises(ExpressionError, match="arguments, meta, result and data"):
        compile_expression("rows", AFTER)


def test_a_failure_tells_the_expression_and_never_the_value():
    expression = compile_expression("length(arguments.secret)", BEFORE)
    with pytest.raises(ValueRefusedError) as caught:
        expression.value({"arguments": {"secret": 4711}})
    assert str(caught.value) == "`length(arguments.secret)` cannot be computed"
    assert caught.value.__cause__ is None


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=2) | st.lists(st.integers(), max_size=2),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_plain_fields_are_what_jmespath_says_they_are(fields, value):
    text = ".".join(["arguments", *fields])
    scope = {"arguments": value}
    assert compile_expression(text, BEFORE).value(scope) == jmespath.search(text, scope)
