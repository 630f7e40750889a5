"""Rules in shadow mode in a running sidecar: calls pass, and the log and the counter say which rule would refuse."""

from __future__ import annotations

from typing import Any

from tests.proxy.support import POLICY, Launch, contacts, policy
from tests.support.rig import Json

CODES = ("arguments_refused", "confirmation_required", "plan_required", "quota_exceeded")
SERIES = [
    f'mcp_sidecar_shadow_refusals_total{{code="{code}",quota="{quota}",tool="reveal_contacts"}}'
    for code, quota in zip(CODES, ("", "", "", "requests"), strict=True)
]


def shadowed() -> Json:
    tool: dict[str, Any] = POLICY["tools"]["reveal_contacts"]
    return policy(
        quotas={"requests": {"day": 1, "mode": "shadow"}, "search_rows": {"month": 100}},
        plans={"growth": {"tools": ["list_taxonomy", "get_usage"], "mode": "shadow"}},
        tools={
            "reveal_contacts": {
                "arguments": {**tool["arguments"], "mode": "shadow"},
                "confirm": {**tool["confirm"], "mode": "shadow"},
            }
        },
    )


async def test_rules_in_shadow_mode_let_calls_pass_and_say_what_they_would_refuse(launch: Launch):
    rig = await launch(policy=shadowed())
    assert [await rig.metric(series) for series in SERIES] == [0, 0, 0, 0]
    await rig.call("list_taxonomy")
    arguments = {**contacts("a", confirmed=False), "surprise": True}
    reply = await rig.call("reveal_contacts", arguments)
    assert (reply.status, reply.code) == (200, None)
    assert rig.backend.received[-1].message["params"]["arguments"] == arguments
    line = next(each for each in await rig.recorded(2) if each["tool"] == "reveal_contacts")
    assert [each["code"] for each in line["shadow"]] == list(CODES)
    assert all(each["rule"].rpartition(":")[2].isdigit() for each in line["shadow"])
    assert (line["status"], line["gate"], "surprise" in str(line)) == ("ok", None, False)
    assert [await rig.metric(series) for series in SERIES] == [1, 1, 1, 1]
    assert (await rig.books()).used["requests"] == 2
    usage = (await rig.call("get_usage")).json["result"]["structuredContent"]
    assert list(usage["quotas"]) == ["search_rows"]
