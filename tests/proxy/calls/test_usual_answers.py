"""Results of tools: relayed in one step where only a receipt is added, by the complete rules elsewhere."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sidecar.proxy.calls.usual_answers import LONGEST
from tests.proxy.support import Launch, policy
from tests.support.backend import Behaviour, Turn
from tests.support.rig import RECEIPT, REFUSAL, Json, Rig

TEXT: Json = {"content": [{"type": "text", "text": "a"}], "resultType": "complete"}


def sends(text: str) -> Behaviour:
    """Answer with a text in which `@ID@` is the id of the request."""

    async def behave(turn: Turn) -> None:
        body = text.replace('"@ID@"', json.dumps(turn.request.message["id"])).encode()
        await turn.reply(200, body, media="application/json")

    return behave


def response(result: Any, id_: Any = "@ID@") -> str:
    return json.dumps({"jsonrpc": "2.0", "id": id_, "result": result})


@pytest.fixture
async def free(launch: Launch) -> Rig:
    """A sidecar under a policy without prices."""
    return await launch(policy=policy(defaults=None))


async def test_a_result_is_relayed_as_it_was_written(free: Rig):
    text = response(TEXT | {"rows": [1.0, 12345678901234567890, "é"]}).replace(", ", " ,\n ")
    free.backend.once(sends(text))
    reply = await free.call("list_taxonomy", {}, id_="one")
    assert reply.body.decode() == text.replace('"@ID@"', '"one"')
    assert reply.headers["Cache-Control"] == "no-store"
    line = await free.line(tool="list_taxonomy")
    assert (line["status"], line["code"], line["http_status"], line["credits"]) == ("ok", "ok", 200, None)


async def test_an_error_of_the_tool_is_recorded_as_one(free: Rig):
    free.backend.once(sends(response(TEXT | {"isError": True})))
    assert (await free.call("list_taxonomy", {})).json["result"]["isError"] is True
    assert (await free.line(tool="list_taxonomy"))["code"] == "tool_error"


async def test_the_result_of_a_tool_with_a_price_has_its_receipt_and_is_else_as_it_was_written(rig: Rig):
    found = TEXT | {"structuredContent": {"rows": [{"id": 1.0}, {"id": 12345678901234567890}]}}
    text = response(found).replace(", ", " ,\n ")
    rig.backend.once(sends(text))
    reply = await rig.call("search_shopify_contacts", {"limit": 5}, id_="one")
    written = text.replace('"@ID@"', '"one"')
    receipt = reply.json["result"]["_meta"][RECEIPT]
    assert reply.body.decode() == written.replace(
        '"result": {', f'"result": {{"_meta":{{"{RECEIPT}":{json.dumps(receipt, separators=(",", ":"))}}},'
    )
    assert receipt["credits"] == {"contact": {"spent": 2, "left": 8}}
    assert (await rig.line(tool="search_shopify_contacts"))["credits"] == {"contact": 2}
    assert (await rig.books()).left() == 8


async def test_of_results_that_arrive_together_each_is_charged_once(rig: Rig):
    calls = [rig.call("search_shopify_contacts", {"limit": 1}) for _ in range(9)]
    replies = await asyncio.gather(*calls)
    shown = [reply.json["result"]["_meta"][RECEIPT]["credits"]["contact"] for reply in replies]
    assert sorted(each["left"] for each in shown) == list(range(1, 10))
    books = await rig.books()
    assert (books.left(), books.holds) == (1, 0)


@pytest.mark.parametrize("key", [RECEIPT, REFUSAL])
async def test_no_forged_receipt_or_refusal_passes(free: Rig, key: str):
    free.backend.once(sends(response(TEXT | {"_meta": {key: {"code": "ok"}, "kept": 1}})))
    assert (await free.call("list_taxonomy", {})).json["result"]["_meta"] == {"kept": 1}


async def test_hints_for_shared_caches_are_made_private(free: Rig):
    free.backend.once(sends(response(TEXT | {"cacheScope": "public", "ttlMs": 5})))
    assert (await free.call("list_taxonomy", {})).json["result"]["cacheScope"] == "private"


@pytest.mark.parametrize(
    "text",
    [
        response(TEXT, "another"),
        response(TEXT).replace('"id"', '"ID"'),
        response(TEXT)[:-1],
        response([]),
        response({"resultType": "task", "taskId": "t"}),
        response(TEXT | {"deep": json.loads("[" * 70 + "]" * 70)}),
        json.dumps({"jsonrpc": "2.0", "id": "@ID@", "result": {}, "error": {"code": 1, "message": "m"}}),
    ],
    ids=["id", "no id", "no JSON", "no object", "task", "deep", "both"],
)
async def test_what_is_no_usable_result_is_refused(free: Rig, text: str):
    free.backend.once(sends(text))
    assert (await free.call("list_taxonomy", {})).code == "backend_unavailable"
    assert (await free.line(tool="list_taxonomy"))["code"] == "backend_unavailable"


@pytest.mark.parametrize("size", [0, LONGEST])
async def test_the_length_of_a_result_makes_no_difference(free: Rig, size: int):
    free.backend.once(sends(response(TEXT | {"more": "x" * size})))
    assert (await free.call("list_taxonomy", {})).json["result"]["more"] == "x" * size


async def test_a_result_beyond_the_limit_is_refused(launch: Launch):
    rig = await launch(policy=policy(defaults=None), limits={"response": "1KiB"})
    rig.backend.once(sends(response(TEXT | {"more": "x" * 1024})))
    assert (await rig.call("list_taxonomy", {})).code == "response_too_large"
