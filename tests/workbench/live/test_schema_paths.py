"""Paths that values of a schema can have: a name that a described level lacks is absent."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.workbench.live.schema_paths import missing_step

ROW = {"type": "object", "properties": {"id": {"type": "string"}}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}},
        "count": {"type": "integer"},
        "optional": {"anyOf": [{"$ref": "#/$defs/Row"}, {"type": "null"}]},
        "text_or_number": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "anything": {},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "open": {"anyOf": [ROW, {"type": "object"}]},
        "both": {"allOf": [ROW, {"properties": {"name": {}}}]},
        "pair": {"prefixItems": [ROW], "items": False},
        "old_pair": {"items": [ROW]},
        "named": {"type": "object", "properties": {}, "patternProperties": {"^x": {}}},
        "nullable": {"type": ["object", "null"], "properties": {"id": {}}},
    },
    "$defs": {"Row": ROW},
}


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        (("rows", 0, "id"), None),
        (("rows", 0, "ids"), 2),
        (("rows", "id"), 1),
        (("rwos",), 0),
        (("count",), None),
        (("count", "x"), 1),
        (("count", 0), 1),
        (("optional", "id"), None),
        (("optional", "x"), 1),
        (("text_or_number", "x"), 1),
        (("anything", "x", 0, "y"), None),
        (("map", "any"), None),
        (("map", "any", "x"), 2),
        (("open", "anything"), None),
        (("both", "id"), None),
        (("both", "name"), None),
        (("both", "x"), 1),
        (("pair", 0, "id"), None),
        (("pair", 0, "x"), 2),
        (("old_pair", 0, "id"), None),
        (("named", "xy"), None),
        (("nullable", "id"), None),
        (("nullable", "x"), 1),
        ((), None),
    ],
)
def test_the_first_step_that_no_value_has(path: tuple[str | int, ...], missing: int | None):
    assert missing_step(SCHEMA, path) == missing


@pytest.mark.parametrize(
    "schema",
    [
        *({}, True, {"type": "object"}, {"$ref": "#"}, {"$ref": "https://example.com/x"}, {"$ref": "#/$defs/gone"}),
        {"additionalProperties": True, "properties": {}},
    ],
)
def test_a_schema_that_says_nothing_has_every_path(schema: Any):
    assert missing_step(schema, ("x", "y")) is None


@pytest.mark.parametrize("schema", [False, None, 7, {"additionalProperties": False}, {"type": "array"}])
def test_a_schema_without_names_has_no_path(schema: Any):
    assert missing_step(schema, ("x",)) == 0


def test_a_schema_that_refers_to_itself_ends():
    schema = {"$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}, ROW]}}, "$ref": "#/$defs/A"}
    assert (missing_step(schema, ("id",)), missing_step(schema, ("x",))) == (None, 0)
