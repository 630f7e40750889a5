"""Text that a person reads before a call: its values come from a model, and cannot pass for anything else."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.confirming.confirm_rule import Confirm
from sidecar.policy.confirming.escaped_values import MAX_ESCAPED, MAX_SHOWN, MAX_VALUE, quoted, shown_value
from sidecar.policy.confirming.message_template import MAX_NAMES, MAX_TEMPLATE, MessageTemplate, TemplateError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8),
    max_leaves=20,
)
UNSHOWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(st.text())
def test_a_text_stays_in_its_quotes_and_its_line(text: str):
    shown = quoted(text)
    inner = shown[1:-1]
    assert shown[0] == shown[-1] == '"'
    assert not set('"<>[]`') & set(inner)
    assert not [each for each in inner if unicodedata.category(each) in UNSHOWN]
    assert len(inner) <= MAX_ESCAPED + 10
    assert text.isalnum() is False or inner.removesuffix("…") == text[:MAX_VALUE]


@given(VALUES)
def test_any_value_is_short_and_in_one_line(value: Any):
    shown = shown_value(value)
    assert len(shown) <= (MAX_SHOWN + 1) * 2 * (MAX_ESCAPED + 20)
    assert not [each for each in shown if unicodedata.category(each) in UNSHOWN]
    assert not set("<>[]`") & set(shown)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", '"a"'),
        ("", '""'),
        ('say "hi"\n', '"say \\u0022hi\\u0022\\u000a"'),
        ("a\\b", '"a\\u005cb"'),
        ("\u202eevil", '"\\u202eevil"'),
        ("\U000e0041", '"\\U000e0041"'),
        ("\u00a0x", '" x"'),
        ("é 漢", '"é 漢"'),
        ("x" * 81, f'"{"x" * 80}…"'),
        ("\n" * 80, '"' + "\\u000a" * 20 + '…"'),
        (7, "7"),
        (10**100, "1" + "0" * 79 + "…"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ([], "(none)"),
        (["a", 1, None], '"a", 1, null'),
        (list(range(9)), "0, 1, 2, 3, 4 and 4 more"),
        ([["a"], {"b": 1}, []], "(1 elements), (1 members), (none)"),
        ({}, "(empty)"),
        ({"a": "b", 'c"': 1}, '"a": "b", "c\\u0022": 1'),
    ],
)
def test_values_as_a_person_reads_them(value: Any, shown: str):
    assert shown_value(value) == shown


@given(st.text(st.sampled_from("{}ab \n"), max_size=40), st.dictionaries(st.text(), VALUES, max_size=3))
def test_any_template_is_read_or_refused(text: str, arguments: dict[str, Any]):
    try:
        template = MessageTemplate.parse(text)
    except TemplateError:
        return
    assert isinstance(template.render(arguments), str)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("Go?", "Go?"),
        ("{a} and {b c}", '"1" and 2'),
        ("{a}{a}", '"1""1"'),
        ("{{a}} {{{a}}}", '{a} {"1"}'),
        ("{gone}", "(not given)"),
    ],
)
def test_templates(text: str, shown: str):
    assert MessageTemplate.parse(text).render({"a": "1", "b c": 2}) == shown


@pytest.mark.parametrize(
    "text", ["{", "}", "{a", "a}", "{}", "{a{b}}", "x" * (MAX_TEMPLATE + 1), "{a}" * (MAX_NAMES + 1)]
)
def test_broken_templates(text: str):
    with pytest.raises(TemplateError):
        MessageTemplate.parse(text)


def test_a_value_is_not_read_as_a_template():
    assert MessageTemplate.parse("{a}").render({"a": "{b}", "b": 1}) == '"{b}"'


def test_without_a_template_the_arguments_are_listed():
    rule = Confirm(None, "", False, "p.yaml:1", title="drop")
    assert rule.question({}) == "Run drop?"
    assert rule.question({"a": "x"}) == 'Run drop with "a": "x"?'
    assert rule.question({str(number): 0 for number in range(12)}).endswith('"9": 0 and 2 more arguments?')
