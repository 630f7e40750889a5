"""Pins: equal for equal definitions however they are spelled, and different for every change of a pinned member."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sidecar.policy.drift.pins import pin_of

BASE: dict[str, Any] = {
    "name": "search",
    "description": "Search stores \u20ac é.",
    "inputSchema": {"type": "object", "properties": {"limit": {"minimum": 1, "multipleOf": 0.5}, "a": {}}},
    "outputSchema": {"type": "object"},
}


def test_the_pin_of_a_known_definition_does_not_change_between_versions():
    assert pin_of(BASE) == "sha256-7e075084a74faad593ac9f2efe0076f83bd3d62437ee8e0d03bde0705c7b5c88"


@pytest.mark.parametrize(
    "text",
    [
        b'{"outputSchema":{"type":"object"},"inputSchema":{"properties":{"a":{},"limit":{"multipleOf":0.5,"minimum":1}},'
        b'"type":"object"},"description":"Search stores \\u20ac \\u00e9.","name":"search"}',
        b'{"name":"search","description":"Search stores \\u20ac \\u00e9.","outputSchema":{"type":"object"},'
        b'"inputSchema":{"type":"object","properties":{"limit":{"minimum":1.0,"multipleOf":5e-1},"a":{}}}}',
        orjson.dumps(
            {**BASE, "title": "Search", "annotations": {"readOnlyHint": True}, "_meta": {"x": 1}, "icons": []}
        ),
    ],
    ids=["order", "numbers and escapes", "members that are not pinned"],
)
def test_spellings_of_one_definition_have_one_pin(text: bytes):
    assert pin_of(orjson.loads(text)) == pin_of(BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Search"},
        {"description": "Search stores - é."},
        {"description": ""},
        {"description": None},
        {"inputSchema": {}},
        {"inputSchema": {**BASE["inputSchema"], "required": []}},
        {
            "inputSchema": {
                **BASE["inputSchema"],
                "properties": {"limit": {"minimum": True, "multipleOf": 0.5}, "a": {}},
            }
        },
        {"inputSchema": {"type": "object", "properties": {"limit": {"minimum": "1", "multipleOf": 0.5}, "a": {}}}},
        {"outputSchema": {"type": ["object"]}},
    ],
)
def test_every_change_of_a_pinned_member_changes_the_pin(change: dict[str, Any]):
    assert pin_of({**BASE, **change}) != pin_of(BASE)


@pytest.mark.parametrize("member", ["description", "inputSchema", "outputSchema"])
def test_a_member_that_is_gone_changes_the_pin(member: str):
    assert pin_of({key: value for key, value in BASE.items() if key != member}) != pin_of(BASE)
