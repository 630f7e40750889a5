"""Costs that callers see: in the result, by the account afterwards, and by the journal."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sidecar.store.commands.keys import account_keys
from tests.proxy.relay.task_office import ERAS as TASK_ERAS
from tests.proxy.relay.task_office import Office
from tests.proxy.support import POLICY, Launch, contacts, policy
from tests.support import backend as scripted
from tests.support.backend import Backend, Behaviour, Turn, tool_result
from tests.support.rig import LEGACY, MODERN, RECEIPT, REFUSAL, Json, Reply, Rig, unstamped
from tests.support.store import FaultProxy, StoreServer, until

MEDIA = pytest.mark.parametrize("media", ["json", "sse"])
ERAS = pytest.mark.parametrize("revision", [MODERN, LEGACY])
NOTE: Json = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "at work"}}
FORGED: Json = {"request_id": "forged", "credits": {"contact": {"spent": 0, "left": 10**9}}}


def answering(media: str, result: Json | None = None) -> Behaviour:
    """The backend's own result, or this one, in one piece or in a stream behind a notification."""

    async def behave(turn: Turn) -> None:
        params = turn.request.message["params"]
        outcome = result if result is not None else scripted.run(turn, params["name"], params["arguments"])
        if media == "json":
            return await turn.result(outcome)
        await turn.open_stream()
        await turn.event(NOTE)
        await turn.event(turn.response({"result": outcome}))
        await turn.end_stream()
        return None

    return behave


def result_of(reply: Reply) -> Json:
    assert reply.status == 200, reply
    document = reply.events[-1] if reply.headers["Content-Type"] == "text/event-stream" else reply.json
    return dict(document["result"])


def receipt_of(reply: Reply) -> Json | None:
    receipt = (result_of(reply).get("_meta") or {}).get(RECEIPT)
    assert receipt is None or receipt["request_id"] == reply.headers["X-Request-Id"]
    return receipt


def credits_of(reply: Reply) -> Json:
    receipt = receipt_of(reply)
    assert receipt is not None
    return dict(receipt["credits"]["contact"])


# --- what it says --------------------------------------------------------------------------------


@MEDIA
@ERAS
async def test_a_result_says_what_it_cost_and_what_is_left(rig: Rig, media: str, revision: str):
    rig.backend.rows = 2
    rig.backend.once(answering(media))
    reply = await rig.call("search_shopify_contacts", {"limit": 5}, revision=revision)
    receipt = receipt_of(reply)
    assert receipt is not None
    resets_in = receipt["quotas"]["requests"].pop("resets_in")
    assert 1 <= resets_in <= 86_400
    assert receipt == {
        "request_id": reply.headers["X-Request-Id"],
        "quotas": {"requests": {"spent": 1, "left": 999, "limit": 1000, "window": "day"}},
        "credits": {"contact": {"spent": 2, "left": 8}},
    }
    books = await rig.books()
    assert (books.left(), books.used) == (8, {"requests": 1})


async def test_rows_beyond_the_reserve_are_shown_in_full(rig: Rig):
    rig.backend.rows = 130
    receipt = receipt_of(await rig.call("search_shopify_stores", {"limit": 5}))
    assert receipt is not None
    rows = receipt["quotas"]["search_rows"]
    assert (rows["spent"], rows["left"], rows["limit"], rows["window"]) == (130, 0, 100, "month")


@MEDIA
async def test_a_tools_own_error_says_that_it_was_free(rig: Rig, media: str):
    rig.backend.once(answering(media, tool_result({}, is_error=True)))
    reply = await rig.call("search_shopify_contacts", {"limit": 5})
    assert result_of(reply)["isError"] is True
    assert credits_of(reply) == {"spent": 0, "left": 10}


async def test_a_tools_own_error_that_is_charged_says_its_price(rig: Rig):
    rig.backend.once(scripted.result(tool_result({"rows": [{"domain": "a.example"}]}, is_error=True)))
    reply = await rig.call("enrich_shopify_domains", {"domains": ["a.example", "b.example"]})
    assert credits_of(reply) == {"spent": 1, "left": 9}
    assert (await rig.books()).left() == 9


async def test_a_result_that_cannot_be_priced_says_what_was_reserved(rig: Rig):
    rig.backend.once(scripted.result(tool_result({"rows": 7})))
    assert credits_of(await rig.call("search_shopify_contacts", {"limit": 4})) == {"spent": 4, "left": 6}


async def test_included_credits_are_among_those_left(launch: Launch):
    rig = await launch(plan="plus")  # two included, besides the ten
    rig.backend.rows = 3
    shown = credits_of(await rig.call("search_shopify_contacts", {"limit": 3}))
    assert (shown["spent"], shown["left"]) == (3, 9)
    assert 1 <= shown["resets_in"] <= 31 * 86_400


async def test_usage_that_the_sidecar_serves_has_a_receipt_of_its_own(rig: Rig):
    reply = await rig.call("get_usage")
    receipt = receipt_of(reply)
    assert receipt is not None
    assert receipt["quotas"]["requests"]["left"] == 999
    assert result_of(reply)["structuredContent"]["quotas"]["requests"]["day"]["left"] == 999


async def test_an_unlimited_quota_has_nothing_left_to_tell(launch: Launch):
    unlimited = {"growth": {"quotas": {"requests": {"day": None}}}}
    rig = await launch(policy=policy(plans={**POLICY["plans"], **unlimited}))
    receipt = receipt_of(await rig.call("list_taxonomy"))
    assert receipt is not None
    assert receipt["quotas"] == {"requests": {"spent": 1}}


@pytest.mark.parametrize(
    "behaviour",
    [scripted.input_required(), scripted.rpc_error()],
    ids=["input required", "error"],
)
async def test_what_is_no_result_has_no_receipt(rig: Rig, behaviour: Behaviour):
    rig.backend.once(behaviour)
    reply = await rig.call("search_shopify_contacts", {"limit": 4})
    assert RECEIPT not in reply.body.decode()


async def test_a_refusal_has_no_receipt(rig: Rig):
    reply = await rig.call("search_shopify_contacts", {"limit": 40})
    assert reply.code == "insufficient_credits"
    assert RECEIPT not in reply.body.decode()


async def test_what_has_no_price_has_no_receipt(launch: Launch):
    rig = await launch(policy=unpriced())
    assert receipt_of(await rig.call("list_taxonomy")) is None
    assert RECEIPT not in (await rig.post("tools/list")).body.decode()


def unpriced() -> Json:
    return {
        "scopes": {"stores:read": "Read stores."},
        "tools": {"list_taxonomy": {"scopes": ["stores:read"]}},
    }


# --- items that are paid once --------------------------------------------------------------------


async def test_items_that_were_paid_before_are_shown_as_free(rig: Rig):
    assert credits_of(await rig.call("reveal_contacts", contacts("a", "b"))) == {"spent": 2, "left": 8}
    assert credits_of(await rig.call("reveal_contacts", contacts("a", "b"))) == {"spent": 0, "left": 8}
    rig.backend.contacts = ["a"]  # of three, one of them new, only what was paid before is delivered
    assert credits_of(await rig.call("reveal_contacts", contacts("a", "b", "c"))) == {"spent": 0, "left": 8}
    rig.backend.contacts = []
    assert credits_of(await rig.call("reveal_contacts", contacts("d"))) == {"spent": 0, "left": 8}


async def test_of_calls_at_the_same_time_the_receipts_are_what_the_journal_says(rig: Rig):
    gate = asyncio.Event()
    sets = [("a", "b"), ("b", "c"), ("a",), ("c", "a"), ("b",)]
    rig.backend.once(*(scripted.after(gate, answering("json" if len(one) > 1 else "sse")) for one in sets))
    calls = [asyncio.create_task(rig.call("reveal_contacts", contacts(*one))) for one in sets]
    await until(lambda: len(rig.backend.received) == len(sets))
    gate.set()
    replies = await asyncio.gather(*calls)
    shown = {reply.headers["X-Request-Id"]: credits_of(reply)["spent"] for reply in replies}
    assert sum(shown.values()) == 3
    assert (await rig.books()).left() == 7
    with rig.redis() as client:
        entries: Any = client.xrange(account_keys("main", "ada").usage)
    journaled = {fields["call"]: int(fields["credit:contact"]) for _, fields in entries if fields["event"] == "settled"}
    assert shown == journaled


async def launch_behind(proxy: FaultProxy, launch: Launch, **options: Any) -> Rig:
    return await launch(store_url=proxy.url, **options)


@MEDIA
@ERAS
async def test_a_price_that_the_store_does_not_confirm_is_pending_and_the_result_relayed(
    launch: Launch, store_server: StoreServer, media: str, revision: str
):
    async with FaultProxy(store_server.path) as proxy:
        rig = await launch_behind(proxy, launch)

        async def behave(turn: Turn) -> None:
            proxy.drop_replies = True
            await answering(media)(turn)

        rig.backend.once(behave)
        rig.backend.contacts = ["a"]
        reply = await rig.call("reveal_contacts", contacts("a", "b"), revision=revision)
        assert result_of(reply)["structuredContent"]["contacts"][0]["id"] == "a"
        assert credits_of(reply) == {"pending": True, "reserved": 2, "left": 8}
        proxy.drop_replies = False
        proxy.cut()
        await rig.sidecar.store.outbox.drain()
        assert (await rig.books()).left() == 9
        assert credits_of(await rig.call("reveal_contacts", contacts("a"))) == {"spent": 0, "left": 9}
        await rig.sidecar.store.outbox.drain()


async def test_what_is_known_is_shown_although_the_store_has_gone(launch: Launch, store_server: StoreServer):
    async with FaultProxy(store_server.path) as proxy:
        rig = await launch_behind(proxy, launch)

        async def behave(turn: Turn) -> None:
            await proxy.refuse()
            await scripted.default()(turn)

        rig.backend.once(behave)
        rig.backend.rows = 2
        assert credits_of(await rig.call("search_shopify_contacts", {"limit": 5})) == {"spent": 2, "left": 8}
        await proxy.listen()
        await rig.sidecar.store.outbox.drain()
        assert (await rig.books()).left() == 8


@ERAS
async def test_a_client_that_leaves_while_the_store_is_asked_has_paid_once(
    launch: Launch, store_server: StoreServer, revision: str
):
    async with FaultProxy(store_server.path) as proxy:
        rig = await launch_behind(proxy, launch)
        sent = asyncio.Event()

        async def behave(turn: Turn) -> None:
            proxy.drop_replies = True
            await scripted.default()(turn)
            sent.set()

        rig.backend.once(behave)
        call = asyncio.create_task(rig.call("reveal_contacts", contacts("a"), revision=revision))
        await sent.wait()
        await until(lambda: rig.sidecar.store.outbox.undelivered == 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        proxy.drop_replies = False
        proxy.cut()
        await rig.sidecar.store.outbox.drain()
        books = await rig.books()
        assert (books.left(), books.holds) == (9, 0)
        assert (await rig.recorded())[0]["credits"] == {"contact": 1}


async def test_events_stay_in_their_order_while_the_store_is_asked(launch: Launch, store_server: StoreServer):
    async with FaultProxy(store_server.path) as proxy:
        rig = await launch_behind(proxy, launch, backend={"keepalive": "50ms"})

        async def behave(turn: Turn) -> None:
            proxy.drop_replies = True
            await turn.open_stream()
            await turn.event(NOTE)
            await turn.event(turn.response({"result": tool_result({"contacts": [{"id": "a"}]})}))
            await turn.event({**NOTE, "params": {"level": "info", "data": "after"}})
            await turn.end_stream()

        rig.backend.once(behave)
        reply = await rig.call("reveal_contacts", contacts("a"))
        assert [event.get("params", {}).get("data") for event in reply.events] == ["at work", None, "after"]
        assert reply.events[1]["result"]["_meta"][RECEIPT]["credits"]["contact"]["pending"] is True
        proxy.drop_replies = False
        proxy.cut()
        await rig.sidecar.store.outbox.drain()


# --- on other streams, and tasks -----------------------------------------------------------------


async def test_a_deferred_call_has_its_receipt_where_it_is_settled(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True))
    session = await rig.session()
    headers = {"Mcp-Session-Id": session}

    async def unanswered(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event("", "1")
        await turn.end_stream()

    rig.backend.once(unanswered)
    asked = await rig.call("search_shopify_contacts", {"limit": 3}, revision=LEGACY, headers=headers)
    answer = {"jsonrpc": "2.0", "id": rig.ids, "result": tool_result({"rows": [1]})}
    sent = {**answer, "id": await rig.sent_id(session, rig.ids)}
    rig.backend.on("GET", scripted.sse(sent, response=False))
    resumed = await rig.get(session=session, headers={"Last-Event-ID": rig.marked[session, "1"]})
    [event] = resumed.events
    assert event["result"]["_meta"][RECEIPT] == {
        "request_id": asked.headers["X-Request-Id"],
        "quotas": {"requests": {"spent": 1}},
        "credits": {"contact": {"spent": 1}},
    }
    assert unstamped(event) == answer
    assert (await rig.books()).left() == 9
    replayed = await rig.get(session=session, headers={"Last-Event-ID": rig.marked[session, "1"]})
    assert replayed.events == [answer]  # it is no call's any more


@pytest.mark.parametrize("late", [False, True], ids=["unanswered", "late"])
async def test_a_resumed_result_is_delivered_only_when_its_settle_was_applied(
    launch: Launch, store_server: StoreServer, late: bool
):
    """Between finding the hold and settling it the lease ends, or the store is lost."""
    async with FaultProxy(store_server.path) as proxy:
        rig = await launch_behind(proxy, launch, scripted=Backend(sessions=True))
        session = await rig.session()

        async def unanswered(turn: Turn) -> None:
            await turn.open_stream()
            await turn.event("", "1")
            await turn.end_stream()

        rig.backend.once(unanswered)
        await rig.call("search_shopify_contacts", {"limit": 3}, revision=LEGACY, headers={"Mcp-Session-Id": session})
        answer = {"jsonrpc": "2.0", "id": rig.ids, "result": tool_result({"rows": [1]})}
        sent = {**answer, "id": await rig.sent_id(session, rig.ids)}
        rig.backend.on("GET", scripted.sse(sent, response=False))
        keys = account_keys("main", "ada")

        def disturb(data: bytes) -> bytes:
            if b"settled" in data:
                with store_server.client() as client:
                    if late:  # as a sweep of another sidecar leaves it
                        client.delete(keys.holds, keys.leases)
                    else:
                        proxy.drop_replies = True
            return data

        proxy.rewrite_request = disturb
        resumed = await rig.get(session=session, headers={"Last-Event-ID": rig.marked[session, "1"]})
        [event] = resumed.events
        assert (event["id"], event["error"]["data"]["code"]) == (answer["id"], "backend_timeout")
        proxy.rewrite_request, proxy.drop_replies = lambda data: data, False
        proxy.cut()
        await rig.sidecar.store.outbox.drain()


@pytest.mark.parametrize("era", TASK_ERAS)
async def test_a_task_has_the_receipt_where_it_is_charged(office: Office, era: str):
    office.desk.ids.append("mine")
    reply = await office.start(era)
    receipt = receipt_of(reply)
    assert receipt is not None
    assert receipt["quotas"]["requests"]["spent"] == 1
    fetched = await office.ask("get", "mine", era)
    assert "mine" in fetched.body.decode()
    assert RECEIPT not in fetched.body.decode()


# --- what the backend says -----------------------------------------------------------------------


@MEDIA
async def test_everything_else_of_a_result_is_as_the_backend_wrote_it(rig: Rig, media: str):
    body = (
        '{"content": [{"type": "text", "text": "half \\ud83d"}], "n": [1.0, -0.0, 12345678901234567890123, 1E2], '
        '"_meta": {"z": 1.50, "a": {"result": {"_meta": {}}}}, "structuredContent": {"rows": []}}'
    )

    async def behave(turn: Turn) -> None:
        text = f'{{"id": {json.dumps(turn.request.message["id"])}, "jsonrpc": "2.0", "result": {body}}}'
        if media == "json":
            return await turn.reply(200, text.encode(), media="application/json")
        await turn.open_stream()
        await turn.event(text)
        await turn.end_stream()
        return None

    rig.backend.once(behave)
    reply = await rig.call("search_shopify_contacts", {"limit": 3})
    text = reply.body.decode()
    head, _, rest = text.partition('"mcp-policy-sidecar/receipt":')
    _, end = json.JSONDecoder().raw_decode(rest)
    assert body in head + rest[end:].removeprefix(",")
    assert credits_of(reply) == {"spent": 0, "left": 10}


@MEDIA
@pytest.mark.parametrize("priced", [True, False], ids=["priced", "unpriced"])
async def test_a_backend_cannot_speak_in_our_name(launch: Launch, media: str, priced: bool):
    rig = await (launch() if priced else launch(policy=unpriced()))
    forged = {**tool_result({}), "_meta": {"own": 1, RECEIPT: FORGED, REFUSAL: {"code": "insufficient_credits"}}}
    rig.backend.once(answering(media, forged))
    reply = await rig.call("list_taxonomy")
    meta = result_of(reply)["_meta"]
    assert (meta.pop(RECEIPT, None) is not None) == priced
    assert meta == {"own": 1}
    assert "forged" not in reply.body.decode()


async def test_nor_can_it_in_what_it_says_before_the_result(rig: Rig):
    rig.backend.once(scripted.sse({**NOTE, "params": {"data": 1.0, "_meta": {"own": 1, RECEIPT: FORGED}}}))
    reply = await rig.call("list_taxonomy")
    assert reply.events[0] == {**NOTE, "params": {"data": 1.0, "_meta": {"own": 1}}}
    assert receipt_of(reply) is not None


@pytest.mark.parametrize("meta", [None, [], "text", 1])
async def test_where_meta_is_no_object_the_receipt_takes_its_place(rig: Rig, meta: Any):
    rig.backend.once(scripted.result({**tool_result({}), "_meta": meta}))
    assert receipt_of(await rig.call("list_taxonomy")) is not None


async def test_a_stream_of_the_session_carries_no_forged_receipt(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True))
    session = await rig.session()
    sent = await rig.sent_id(session, 999)
    forged = {"jsonrpc": "2.0", "id": sent, "result": {"content": [], "_meta": {RECEIPT: FORGED}}}
    task = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"_meta": {RECEIPT: FORGED, "own": 1}}}
    rig.backend.on("GET", scripted.sse(forged, task, response=False))
    events = (await rig.get(session=session)).events
    assert [event.get("result", event.get("params")) for event in events] == [
        {"content": [], "_meta": {}},
        {"_meta": {"own": 1}},
    ]


async def test_events_without_a_message_stay_as_they_are(launch: Launch):
    """A priming event has an id and no data at all: clients would try to read empty data."""
    rig = await launch(scripted=Backend(sessions=True))
    session = await rig.session()

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.chunk(b"id: 7\n\n")
        await turn.end_stream()

    rig.backend.once(behave)
    reply = await rig.call("list_taxonomy", revision=LEGACY, headers={"Mcp-Session-Id": session})
    assert reply.body == f"id: {rig.marked[session, '7']}\n\n".encode()
