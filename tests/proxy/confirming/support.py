"""Tools that a person confirms, and a client of 2026-07-28 that asks one."""

from __future__ import annotations

from typing import Any

from tests.proxy.support import policy
from tests.support.rig import Json, Reply, Rig

FORM: Json = {"elicitation": {}}
OWN_INPUT = "mcp-policy-sidecar/confirmation"
TOOL = "reveal_contacts"
ARGUMENTS: Json = {"contact_ids": ["a", "b"]}
_PROPERTIES: Json = {
    "contact_ids": {"type": "array", "items": {"type": "string"}, "maxItems": 20},
    "reason": {"type": "string", "default": "none"},
}


def confirmed_policy(confirm: Json | None = None, *, tool: Json | None = None, **changes: Any) -> Json:
    """The policy of the proxy's tests, in which a person confirms `reveal_contacts`."""
    rule = {"by": "person", "message": "Reveal {contact_ids} ({reason})?", "title": "Reveal contacts"}
    schema: Json = {"properties": dict(_PROPERTIES), "required": ["contact_ids"], "additionalProperties": False}
    if confirm is not None and "argument" in confirm and not confirm.get("inject"):
        schema["properties"][confirm["argument"]] = {"type": "boolean"}
    changed = {"arguments": schema, "confirm": rule if confirm is None else confirm, **(tool or {})}
    return policy(tools={TOOL: changed}, **changes)


async def ask(
    rig: Rig, arguments: Json | None = None, *, tool: str = TOOL, capabilities: Json | None = None, **options: Any
) -> Reply:
    """Call the tool as a client that can ask a person; `params` are those of a retry."""
    params = {
        "name": tool,
        "arguments": ARGUMENTS if arguments is None else arguments,
        "_meta": {"io.modelcontextprotocol/clientCapabilities": FORM if capabilities is None else capabilities},
        **options.pop("params", {}),
    }
    return await rig.post("tools/call", params, **options)


def question_of(reply: Reply) -> Json:
    """The question in an answer."""
    result = reply.json["result"]
    assert result["resultType"] == "input_required", result
    found: Json = result["inputRequests"][OWN_INPUT]
    assert found["method"] == "elicitation/create"
    return dict(found["params"])


def state_of(reply: Reply) -> str:
    """The state of a question."""
    state = reply.json["result"]["requestState"]
    assert isinstance(state, str)
    return state


def answer(state: str, action: str = "accept", **others: Any) -> Json:
    """The parameters of a retry with the person's answer."""
    response: Json = {"action": action, **({"content": {}} if action == "accept" else {})}
    return {"requestState": state, "inputResponses": {OWN_INPUT: response, **others}}
