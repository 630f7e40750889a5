"""Amounts that a caller asks for, or a backend answers, and that are no amounts: refused, or the reserve is charged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.rig import MODERN, Json, Rig

RULES: Json = {
    "scopes": {"read": "Read."},
    "quotas": {"rows": {"month": 100}},
    "credits": {"contact": "One contact."},
    "plans": {"growth": {}},
    "tools": {
        "list_taxonomy": {
            "scopes": [],
            "arguments": {"properties": {"n": {}}},
            "uses": {"rows": {"reserve": "arguments.n", "settle": "data.n"}},
            "spends": {"contact": {"reserve": "arguments.n", "settle": "data.n"}},
        }
    },
}
# As literals of JSON: some of them do not survive being read.
NO_AMOUNTS = ["-1", "-9007199254740991", "1.5", "2.0", "1e0", "true", '"7"', "null", "[]", "[7]", "{}", '"1e3"', "-0.0"]
TOO_LARGE = ["9007199254740992", "1" + "0" * 400, "1e300"]


async def asked(rig: Rig, literal: str) -> Any:
    message = rig.message("tools/call", {"name": "list_taxonomy", "arguments": {"n": "LITERAL"}}, revision=MODERN)
    body = json.dumps(message).replace('"LITERAL"', literal).encode()
    return await rig.send(body, rig.request_headers(message, MODERN, "", {}))


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    return await launch(policy=RULES)


@pytest.mark.parametrize("literal", [*NO_AMOUNTS, *TOO_LARGE, "1e400"], ids=lambda literal: literal[:20])
async def test_what_is_asked_for_is_an_amount_or_the_call_is_refused(rig: Rig, literal: str):
    reply = await asked(rig, literal)
    # JSON that readers take for different numbers is no message at all.
    assert reply.code in ("arguments_refused", "params_malformed", "message_malformed", "message_unparsable")
    assert rig.backend.executed == []
    books = await rig.books()
    assert (books.left(), books.holds, books.used) == (10, 0, {})


@pytest.mark.parametrize("literal", [*NO_AMOUNTS, *TOO_LARGE], ids=lambda literal: literal[:20])
async def test_what_a_result_says_is_an_amount_or_the_reserve_is_charged(rig: Rig, literal: str):
    async def behave(turn: scripted.Turn) -> None:
        result = {"resultType": "complete", "content": [], "structuredContent": {"n": "LITERAL"}}
        body = json.dumps(turn.response({"result": result})).replace('"LITERAL"', literal)
        await turn.reply(200, body.encode(), media="application/json")

    rig.backend.on("list_taxonomy", behave)
    await asked(rig, "4")
    (line,) = await rig.recorded()
    books = await rig.books()
    if line["code"] == "backend_unavailable":  # no reader agrees on it: the tool's `on_unknown` decides, and releases
        assert len(literal) > 400
        assert (books.left(), books.holds) == (10, 0)
        return
    assert (line["code"], line["credits"]) == ("ok", {"contact": 4})
    assert (books.left(), books.holds, books.used) == (6, 0, {"rows": 4})
    assert all("must give an integer from 0 to" in note for note in line["notes"])


@pytest.mark.parametrize(("returned", "left", "rows"), [(0, 10, 0), (3, 7, 3), (2**53 - 1, 6, 2**53 - 1)])
async def test_rows_returned_count_in_full_and_credits_never_beyond_the_reserve(
    rig: Rig, returned: int, left: int, rows: int
):
    rig.backend.on("list_taxonomy", scripted.result({"content": [], "structuredContent": {"n": returned}}))
    await asked(rig, "4")
    await rig.recorded()
    books = await rig.books()
    assert (books.left(), books.holds, books.used) == (left, 0, {"rows": rows})
    again = await asked(rig, "4")
    assert again.code == ("quota_exceeded" if rows > 96 else None)
