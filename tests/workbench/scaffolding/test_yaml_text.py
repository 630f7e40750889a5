"""YAML text: whatever the values are, a reader gets them back, and comments stay comments."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.documents.merging import parse
from sidecar.workbench.scaffolding.yaml_text import Noted, comment, document, plain

# Text without lone surrogates, which no JSON reader of the sidecar lets through.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20
)
SPECIAL = [
    *(
        "on",
        "off",
        "yes",
        "no",
        "y",
        "n",
        "null",
        "~",
        "",
        "true",
        "Null",
        "{",
        "}",
        "[",
        "]",
        "- a",
        "-",
        "---",
        "...",
    ),
    *("a: b", "a:", ":a", "a:b:", "a #b", "#", "!x", "&x", "*x", "%x", "@x", "`x`", "|", ">", "?", "? a", "<<", "="),
    *("1", "01", "0x1f", "0o7", "1e3", "1_000", "1:30", "12:30:00", "2026-01-01", ".inf", ".nan", "+1", "-0", "1."),
    *(
        "a\nb",
        "\n",
        " a",
        "a ",
        "\t",
        "\x00",
        "\x1b[2J",
        "\x85",
        "\u2028",
        "\ufeff",
        "é",
        "\U0001f600",
        "${HOME}",
        "'",
        '"',
    ),
    "http://127.0.0.1:8000/mcp",
]


@given(st.dictionaries(TEXTS, VALUES | st.builds(Noted, VALUES, st.lists(TEXTS, max_size=2).map(tuple)), max_size=4))
def test_every_value_is_read_back(value: dict[str, Any]):
    read = parse("p.yaml", document(value, ("head", "")))
    assert (read.value, read.problems) == (plain(value), ())


@pytest.mark.parametrize("text", SPECIAL)
def test_special_texts_stay_text_in_every_place_and_for_other_readers(text: str):
    value = {"tools": {text: {"scopes": [text], "x": {"y": text}}}, "list": [{"name": text}], text: text}
    written = document(value)
    assert parse("p.yaml", written).value == value
    assert yaml.safe_load(written) == value


def test_comments_cannot_leave_their_line():
    hostile = "x\nempty: true\r\u2028tools: {}"
    written = document({"a": Noted(1, (hostile,)), "b": [Noted({"c": 1}, (hostile,))]}, (hostile,))
    assert parse("p.yaml", written).value == {"a": 1, "b": [{"c": 1}]}
    assert comment(hostile) == "x\\nempty: true\\r\\u2028tools: {}"


def test_the_layout_is_the_one_of_a_hand_written_policy():
    tools = {"on": Noted({"scopes": ["x:read"], "uses": {"requests": 1}, "rows": "a" * 90}, ("DECIDE: one",))}
    written = document(
        {"base_scopes": ["x:read"], "tools": Noted(tools, ("",)), "tests": [{"name": "a b", "call": {}}]}
    )
    assert written.splitlines() == [
        "base_scopes: [x:read]",
        "",
        "tools:",
        "  # DECIDE: one",
        '  "on":',
        "    scopes: [x:read]",
        "    uses: {requests: 1}",
        f"    rows: {'a' * 90}",
        "tests:",
        "  - name: a b",
        "    call: {}",
    ]
