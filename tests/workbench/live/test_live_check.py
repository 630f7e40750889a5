"""Comparison of a policy with its live backend: each difference is one finding at the line of its rule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config.documents.merging import parse
from sidecar.policy.drift.pins import pin_of
from sidecar.policy.language.compile import compile_policy
from sidecar.workbench.live.live_check import MAX_UNDECLARED, LiveFinding, compare
from sidecar.workbench.scaffolding.inventory import Inventory

Json = dict[str, Any]
KEYWORDS = st.sampled_from(
    [
        *("type", "properties", "items", "additionalProperties", "anyOf", "allOf", "$ref", "required", "rows", "limit"),
        *("prefixItems", "patternProperties", "then"),
    ]
)
POLICY = """\
scopes: {read: Read.}
quotas: {rows: {day: 9}}
credits: {contact: One.}
tools:
  search:
    scopes: [read]
    arguments:
      properties: {limit: {type: integer, default: 5}, filter: {properties: {city: {}}}}
      additionalProperties: false
    uses: {rows: {reserve: arguments.limit, settle: length(data.rows)}}
    spends: {contact: {items: arguments.filter.ids, settle: "data.rows[].id"}}
    rows: length(result.structuredContent.rows)
    pin: PIN
  usage: {scopes: [], serve: usage}
prompts: {greet: {scopes: []}}
"""
ROWS = {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}}
PROPERTIES = {"limit": {"type": "integer"}, "filter": {"type": "object", "properties": {"ids": {}, "city": {}}}}


def definition(properties: Json = PROPERTIES, rows: Json | None = None, **more: Any) -> Json:
    output = {"type": "object", "properties": {"rows": ROWS} if rows is None else rows}
    return {
        "name": "search",
        "inputSchema": {"type": "object", "properties": properties, **more},
        "outputSchema": output,
    }


def findings(*tools: Any, text: str = POLICY, pinned: Any = None, **lists: Any) -> list[LiveFinding]:
    pin = pin_of(pinned or (tools[0] if tools else definition()))
    policy = compile_policy((parse("p.yaml", text.replace("PIN", pin)),))
    lists.setdefault("prompts", ({"name": "greet"},))
    return list(compare(policy, Inventory("shop", tools=tools, **lists)))


def shown(found: list[LiveFinding]) -> list[tuple[str, str, str]]:
    return [(each.kind, each.name, each.rule.removeprefix("p.yaml:")) for each in found if each.fails]


def test_a_policy_that_fits_has_no_findings():
    assert findings(definition()) == []


def test_a_tool_that_the_backend_lacks():
    (found,) = findings()
    assert (found.kind, found.name, found.rule) == ("tool_missing", "search", "p.yaml:5")


def test_a_misspelt_name_is_shown_the_one_that_is_meant():
    found = findings({"name": "serach"}, pinned=definition())
    assert found[0].text == "the backend lists no tool of this name; did you mean 'serach'?"
    found = findings(definition({"limits": {}, "filter": {}}))
    assert found[0].text == (
        "the argument 'limit' is declared, and the backend's schema has filter, limits; did you mean 'limits'?"
    )


def test_undeclared_tools_are_notices_with_escaped_names():
    found = findings(definition(), {"name": "other\x1b[2J"}, {"name": "x" * 500}, 7, {"name": 7})
    assert [(each.kind, each.fails) for each in found] == [("tool_undeclared", False)] * 2
    assert [each.name for each in found] == ["other\\x1b[2J", "x" * 128]
    many = findings(definition(), *({"name": f"t{number}"} for number in range(MAX_UNDECLARED + 7)))
    assert (len(many), many[-1].name) == (MAX_UNDECLARED + 1, "7 more undeclared tools")


def test_a_changed_definition_shows_its_new_pin():
    now = definition() | {"description": "new"}
    (found,) = findings(now, pinned=definition())
    assert (found.kind, found.rule, found.pin) == ("tool_changed", "p.yaml:5", pin_of(now))
    assert found.text.endswith(f"write pin: {pin_of(now)}")


def test_a_tool_that_is_listed_twice():
    assert shown(findings(definition(), definition())) == [("tool_twice", "search", "5")]


@pytest.mark.parametrize(
    ("listed", "kinds"),
    [
        (definition({"limit": {}, "filter": {}}), []),
        (definition({"limit": {}}), [("argument_unknown", "7")]),
        (definition({}), [("argument_unknown", "7")] * 2),
        (definition({"filter": PROPERTIES["filter"]}, additionalProperties=True), []),
        (definition({**PROPERTIES, "page": {}}, required=["page"]), [("argument_required", "7")]),
        (definition({**PROPERTIES, "page": {}}, required=["limit", 7]), []),
        (definition({**PROPERTIES, "filter": {"type": "object", "properties": {"id": {}}}}), [("path_unknown", "11")]),
        (definition(rows={"row": ROWS}), [("path_unknown", "10"), ("path_unknown", "11"), ("path_unknown", "5")]),
        (definition(rows={"rows": {"type": "array", "items": {"properties": {"ids": {}}}}}), [("path_unknown", "11")]),
        ({"name": "search", "inputSchema": {"properties": PROPERTIES}}, []),
        ({"name": "search", "inputSchema": "broken", "outputSchema": ["broken"]}, []),
        ({"name": "search"}, []),
    ],
)
def test_names_that_the_live_schemas_lack(listed: Json, kinds: list[tuple[str, str]]):
    assert [(kind, rule) for kind, _, rule in shown(findings(listed))] == kinds


def test_an_injected_confirmation_that_the_backend_has_itself():
    text = "tools: {search: {scopes: [], confirm: {argument: confirm, inject: true}}}"
    assert [each.kind for each in findings(definition({"confirm": {}}), text=text)] == ["argument_conflict"]
    assert findings(definition({}), text=text) == []


def test_a_prompt_that_the_backend_lacks_and_a_list_that_could_not_be_read():
    assert shown(findings(definition(), prompts=())) == [("prompt_missing", "greet", "15")]
    assert findings(definition(), prompts=(), unread=("prompts/list could not be read: x",)) == []


COMPILED = compile_policy((parse("p.yaml", POLICY.replace("PIN", pin_of(definition()))),))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["object", "array", "#", "#/a", "limit"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=60)
@given(st.lists(st.fixed_dictionaries({"name": st.just("search") | JSON, "inputSchema": JSON, "outputSchema": JSON})))
def test_any_list_is_compared(tools: list[Any]):
    assert all(each.name.isascii() and str(each) for each in compare(COMPILED, Inventory("shop", tools=tuple(tools))))


def test_a_finding_reads_as_one_line_with_its_place():
    (found,) = findings(definition(rows={"row": {}} | {"rows": {"type": "array", "items": {"type": "string"}}}))
    assert str(found) == (
        "p.yaml:11: search: `data.rows[].id` reads data.rows[].id, and the backend's output schema has no rows[].id"
    )
