"""Input schemas in lists: narrowed to what the policy accepts, once for each definition."""

from __future__ import annotations

from typing import Any

import orjson

from sidecar.model import Call, CallKind, Revision
from sidecar.policy.drift.pins import pin_of
from sidecar.proxy.relay.backend_tools import BackendTools
from sidecar.proxy.relay.listed_schemas import ListedSchemas
from sidecar.proxy.relay.listings import Viewer, editor
from tests.policy.support import policy
from tests.proxy.support import Launch
from tests.proxy.support import policy as proxy_policy
from tests.support.rig import Json, Rig

SCHEMA: Json = {"type": "object", "properties": {"limit": {"type": "integer"}, "sure": {"type": "boolean"}}}
DEFINITION: Json = {"name": "t", "description": "T.", "inputSchema": SCHEMA}
TEXT = """\
scopes: {s: S}
tools:
  t:
    scopes: [s]
    arguments: {properties: {limit: {maximum: 9}, sure: {type: boolean}}, additionalProperties: false}
"""


def listed(text: str, definition: Json = DEFINITION) -> Any:
    compiled = policy(text)
    edit = editor(
        Call(CallKind.REQUEST, Revision.V2025_11_25, "tools/list", id=1),
        compiled,
        Viewer(None, frozenset({"s"})),
        BackendTools(compiled),
    )
    assert edit is not None
    return decoded(edit({"tools": [definition]}))["tools"][0]


def decoded(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))


async def schema_of(rig: Rig, tool: str) -> Any:
    tools = (await rig.post("tools/list")).json["result"]["tools"]
    return next(each["inputSchema"] for each in tools if each["name"] == tool)


async def test_clients_learn_the_policy_from_the_list(rig: Rig, launch: Launch):
    narrowed = await schema_of(rig, "reveal_contacts")
    assert narrowed["properties"]["contact_ids"]["maxItems"] == 20
    assert (narrowed["required"], narrowed["additionalProperties"]) == (["contact_ids"], False)
    plain = await launch(policy=proxy_policy(listing={"narrow": False}))
    assert "maxItems" not in (await schema_of(plain, "reveal_contacts"))["properties"]["contact_ids"]


def test_a_tool_without_rules_is_listed_as_the_backend_wrote_it():
    text = "scopes: {s: S}\ntools: {t: {scopes: [s]}}"
    assert listed(text)["inputSchema"] == SCHEMA


def test_rules_in_shadow_mode_narrow_nothing():
    assert listed(TEXT.replace("{properties: {limit", "{mode: shadow, properties: {limit"))["inputSchema"] == SCHEMA
    shadow = TEXT + "    confirm: {argument: extra, inject: true, mode: shadow}\n"
    assert "extra" not in listed(shadow)["inputSchema"]["properties"]


def test_a_pin_is_compared_with_the_definition_of_the_backend():
    shown = listed(f"{TEXT}    pin: {pin_of(DEFINITION)}\n")
    assert shown["inputSchema"]["properties"]["limit"] == {"type": "integer", "maximum": 9}


def test_a_confirmation_of_the_backend_is_described_and_stays_optional():
    shown = listed(f"{TEXT}    confirm: {{argument: sure, message: Ask the user first.}}\n")["inputSchema"]
    assert shown["properties"]["sure"] == {"type": "boolean", "description": "Ask the user first."}
    assert "required" not in shown


def test_an_injected_confirmation_is_listed_in_a_schema_that_the_policy_closes():
    shown = listed(f"{TEXT}    confirm: {{argument: really, inject: true}}\n")["inputSchema"]
    assert set(shown["properties"]) == {"limit", "sure", "really"}
    assert shown["additionalProperties"] is False


def test_a_definition_is_narrowed_once_until_it_changes():
    compiled = policy(TEXT)
    schemas, tool = ListedSchemas(compiled), compiled.tools["t"]
    first = schemas.shown(tool, DEFINITION)
    assert schemas.shown(tool, {**DEFINITION, "inputSchema": {**SCHEMA}}) is first
    changed = decoded(
        schemas.shown(tool, {**DEFINITION, "inputSchema": {"type": "object", "properties": {"limit": {}}}})
    )
    assert changed["properties"] == {"limit": {"maximum": 9}, "sure": {"type": "boolean"}}
    assert decoded(schemas.shown(tool, DEFINITION)) == decoded(first)


def test_the_bytes_that_are_kept_are_bounded():
    compiled = policy(TEXT)
    tool = compiled.tools["t"]
    for most, kept in ((500, True), (50, False)):
        schemas = ListedSchemas(compiled, most)
        first = schemas.shown(tool, DEFINITION)
        assert (schemas.shown(tool, DEFINITION) is first) == kept
        assert decoded(schemas.shown(tool, DEFINITION)) == decoded(first)


def test_integers_of_any_size_in_a_policy_are_listed():
    text = TEXT.replace("maximum: 9", f"maximum: {10**30}, enum: [1, {10**25}]")
    assert listed(text)["inputSchema"]["properties"]["limit"]["enum"] == [1, 1e25]


def test_an_injected_confirmation_is_listed_for_a_name_that_is_listed_again():
    compiled = policy(f"{TEXT}    confirm: {{argument: really, inject: true}}\n")
    call = Call(CallKind.REQUEST, Revision.V2025_11_25, "tools/list", id=1)
    edit = editor(call, compiled, Viewer(None, frozenset({"s"})), BackendTools(compiled))
    assert edit is not None
    for each in decoded(edit({"tools": [DEFINITION, DEFINITION, {"name": "t"}]}))["tools"]:
        assert each["inputSchema"]["properties"]["really"]["type"] == "boolean"
