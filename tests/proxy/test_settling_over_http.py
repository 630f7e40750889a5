"""Cost of a call by its outcome: the answer, what ran, and the account in the store afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from tests.proxy.support import Launch, contacts, policy
from tests.support import backend as scripted
from tests.support.backend import Behaviour, Turn, tool_result
from tests.support.rig import LEGACY, MODERN, RECEIPT, Json, Rig
from tests.support.store import FaultProxy, StoreServer, until


def answers(media: str) -> Behaviour:
    return (
        scripted.default() if media == "json" else scripted.sse({"jsonrpc": "2.0", "method": "notifications/message"})
    )


MEDIA = pytest.mark.parametrize("media", ["json", "sse"])
ERAS = pytest.mark.parametrize("revision", [MODERN, LEGACY])


# --- from the result -----------------------------------------------------------------------------


@MEDIA
@ERAS
async def test_credits_cost_what_the_result_says(rig: Rig, media: str, revision: str):
    rig.backend.rows = 2
    rig.backend.once(answers(media))
    reply = await rig.call("search_shopify_contacts", {"limit": 5}, revision=revision)
    assert reply.status == 200
    books = await rig.books()
    assert (books.left(), books.used, books.holds) == (8, {"requests": 1}, 0)
    line = (await rig.recorded())[0]
    assert (line["code"], line["credits"]) == ("ok", {"contact": 2})


@MEDIA
async def test_rows_are_counted_as_returned(rig: Rig, media: str):
    rig.backend.rows = 7
    rig.backend.once(answers(media))
    await rig.call("search_shopify_stores", {"limit": 50})
    assert (await rig.books()).used == {"requests": 1, "search_rows": 7}
    assert (await rig.recorded())[0]["rows"] == 7


async def test_rows_beyond_the_reserve_count_in_full(rig: Rig):
    rig.backend.rows = 130
    await rig.call("search_shopify_stores", {"limit": 5})
    assert (await rig.books()).used["search_rows"] == 130
    usage = (await rig.call("get_usage")).json["result"]["structuredContent"]
    assert usage["quotas"]["search_rows"]["month"]["left"] == 0


async def test_credits_never_cost_more_than_was_reserved(rig: Rig):
    rig.backend.rows = 9
    await rig.call("search_shopify_contacts", {"limit": 2})
    assert (await rig.books()).left() == 8


@MEDIA
async def test_contacts_that_came_back_are_paid_once(rig: Rig, media: str):
    rig.backend.contacts = ["a", "c"]
    rig.backend.once(answers(media))
    await rig.call("reveal_contacts", contacts("a", "b", "c"))
    assert (await rig.books()).left() == 8
    assert await rig.paid() == {"a", "c"}
    rig.backend.contacts = None
    await rig.call("reveal_contacts", contacts("a", "b", "c"))
    assert (await rig.books()).left() == 7
    await rig.call("reveal_contacts", contacts("c", "b", "a"))
    assert (await rig.books()).left() == 7


async def test_two_calls_for_one_contact_pay_it_once(rig: Rig):
    gates = [asyncio.Event(), asyncio.Event()]
    rig.backend.once(*(scripted.after(gate, scripted.default()) for gate in gates))
    calls = [asyncio.create_task(rig.call("reveal_contacts", contacts("a"))) for _ in gates]
    await until(lambda: len(rig.backend.received) == 2)
    assert (await rig.books()).left() == 8  # both reserve
    for gate in gates:
        gate.set()
    await asyncio.gather(*calls)
    assert (await rig.books()).left() == 9
    assert len(rig.backend.executed) == 2


async def test_included_credits_are_spent_before_the_balance(launch: Launch):
    rig = await launch(plan="plus")
    rig.backend.rows = 1
    await rig.call("search_shopify_contacts", {"limit": 3})
    books = await rig.books()
    assert (books.included, books.left()) == ({"contact": 1}, 10)
    rig.backend.rows = 3
    await rig.call("search_shopify_contacts", {"limit": 3})
    books = await rig.books()
    assert (books.included, books.left()) == ({"contact": 2}, 8)


async def test_an_item_that_was_not_requested_charges_the_reserve(rig: Rig):
    rig.backend.contacts = ["a", "stranger"]
    await rig.call("reveal_contacts", contacts("a", "b"))
    assert (await rig.books()).left() == 8
    assert await rig.paid() == set()
    line = (await rig.recorded())[0]
    assert "not requested" in line["notes"][0]
    assert "stranger" not in str(line)
    assert await rig.metric('mcp_sidecar_settle_problems_total{tool="reveal_contacts"}') == 1


async def test_an_alias_is_paid_every_time(rig: Rig):
    """`latest` delivers another item each time: a paid `latest` must not be free from then on."""
    rig.backend.contacts = ["id-17"]
    for left in (9, 8, 7):
        reply = await rig.call("reveal_contacts", contacts("latest"))
        receipt = reply.json["result"]["_meta"][RECEIPT]
        assert receipt["credits"]["contact"] == {"spent": 1, "left": left}
        assert (await rig.books()).left() == left
    assert await rig.paid() == set()


async def test_a_result_that_does_not_say_what_it_delivers_marks_nothing(rig: Rig):
    for left in (8, 6):
        rig.backend.once(scripted.result(tool_result({"contacts": [{"id": 1.5}]})))
        await rig.call("reveal_contacts", contacts("a", "b"))
        assert (await rig.books()).left() == left
    assert await rig.paid() == set()


async def test_what_was_paid_before_stays_paid_when_a_later_result_names_strangers(rig: Rig):
    await rig.call("reveal_contacts", contacts("a"))
    rig.backend.contacts = ["stranger"]
    await rig.call("reveal_contacts", contacts("a", "b"))
    assert (await rig.books()).left() == 8
    assert await rig.paid() == {"a"}


async def test_a_result_that_cannot_be_priced_charges_the_reserve(rig: Rig):
    rig.backend.once(scripted.result(tool_result({"rows": 7})))
    reply = await rig.call("search_shopify_contacts", {"limit": 4})
    assert reply.status == 200
    assert (await rig.books()).left() == 6
    assert (await rig.recorded())[0]["notes"]


async def test_a_text_result_is_priced_from_its_json(rig: Rig):
    plain: Json = {"content": tool_result({"rows": [1, 2]})["content"]}
    rig.backend.once(scripted.result(plain))
    await rig.call("search_shopify_contacts", {"limit": 4})
    assert (await rig.books()).left() == 8


# --- every other outcome -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a call that reserved three credits.

    Attributes:
        released: credits left with `on_unknown: release`, of ten.
        settled: credits left with `on_unknown: settle`.
    """

    behaviour: Behaviour
    code: str
    status: int = 502
    released: int = 10
    settled: int = 7


def stream(*events: Json | str, ids: bool = False) -> Behaviour:
    return scripted.sse(*events, ids=ids, response=False)


def broken_stream(turn_on: str) -> Behaviour:
    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event({"jsonrpc": "2.0", "method": "notifications/message"})
        turn.reset() if turn_on == "reset" else turn.close()

    return behave


def streamed(message: Json) -> Behaviour:
    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(turn.response(message))
        await turn.end_stream()

    return behave


LARGE: Json = {"result": tool_result({"padding": "x" * 70_000})}
ERROR: Json = {"error": {"code": -32000, "message": "no"}}

# Both eras behave alike here; where they do not, a test of its own says so.
OUTCOMES = {
    "json-rpc error": Outcome(scripted.rpc_error(), "rpc_error", 200, 10, 10),
    "json-rpc error, sse": Outcome(streamed(ERROR), "rpc_error", 200, 10, 10),
    "isError": Outcome(scripted.tool_error(), "tool_error", 200, 10, 10),
    "isError, sse": Outcome(streamed({"result": tool_result({}, is_error=True)}), "tool_error", 200, 10, 10),
    "input required": Outcome(scripted.input_required(), "input_required", 200, 10, 10),
    "400": Outcome(scripted.http(400, b"{}"), "http_refused", 400, 10, 10),
    "404": Outcome(scripted.http(404, b"{}"), "http_refused", 404, 10, 10),
    "403": Outcome(scripted.http(403), "backend_unavailable", 502, 10, 10),
    "307": Outcome(scripted.http(307), "backend_unavailable", 502, 10, 10),
    "500": Outcome(scripted.http(500), "backend_unavailable"),
    "reset": Outcome(scripted.reset(), "backend_unavailable"),
    "hang up": Outcome(scripted.hang_up(), "backend_unavailable"),
    "truncated": Outcome(scripted.truncated(), "backend_unavailable"),
    "no json": Outcome(scripted.http(200, b"<html>"), "backend_unavailable"),
    "other id": Outcome(scripted.http(200, b'{"jsonrpc":"2.0","id":-1,"result":{}}'), "backend_unavailable"),
    "timeout": Outcome(scripted.silent(), "backend_timeout", 504),
    "oversized": Outcome(scripted.result(LARGE["result"]), "response_too_large", 502, 7, 7),
    "oversized, sse": Outcome(streamed(LARGE), "response_too_large", 200, 7, 7),
    "stream reset": Outcome(broken_stream("reset"), "backend_unavailable", 200),
    "stream truncated": Outcome(broken_stream("close"), "backend_unavailable", 200),
    "stream without response": Outcome(stream(), "backend_unavailable", 200, 7, 7),
}


@pytest.mark.parametrize("on_unknown", ["release", "settle"])
@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES.keys())
async def test_every_outcome_settles_as_the_contract_says(launch: Launch, outcome: Outcome, on_unknown: str):
    timeout = "1s" if outcome.code == "backend_timeout" else "60s"
    rig = await launch(
        policy=policy(tools={"search_shopify_contacts": {"on_unknown": on_unknown, "timeout": timeout}}),
        limits={"response": "64KiB"},
    )
    rig.backend.on("search_shopify_contacts", outcome.behaviour)
    for revision, spent in ((MODERN, 0), (LEGACY, 10 - left_of(outcome, on_unknown))):
        reply = await rig.call("search_shopify_contacts", {"limit": 3}, revision=revision)
        assert reply.status == outcome.status, reply
        answer = reply.events[-1] if reply.headers["Content-Type"] == "text/event-stream" else None
        if answer is not None and outcome.code.startswith(("backend", "response")):
            assert answer["error"]["data"]["code"] == outcome.code
            assert answer["id"] == rig.ids
        books = await rig.books()
        assert (books.left(), books.holds) == (left_of(outcome, on_unknown) - spent, 0)
    assert (await rig.books()).used == {"requests": 2}  # a fixed amount is consumed once it was forwarded
    assert {line["code"] for line in await rig.recorded(2)} <= {outcome.code, *ALSO.get(outcome.code, ())}


# Once the head of a stream is sent, the log names the event rather than the refusal.
ALSO = {
    "backend_unavailable": ("backend_gone", "stream_ended"),
    "response_too_large": ("too_large",),
}


def left_of(outcome: Outcome, on_unknown: str) -> int:
    return outcome.released if on_unknown == "release" else outcome.settled


@MEDIA
async def test_a_tools_error_is_charged_where_the_policy_says_so(rig: Rig, media: str):
    failed: Json = {**tool_result({"rows": [{"domain": "a.example"}]}), "isError": True}
    rig.backend.once(scripted.result(failed) if media == "json" else streamed({"result": failed}))
    await rig.call("enrich_shopify_domains", {"domains": ["a.example", "b.example"]})
    assert (await rig.books()).left() == 9


async def test_items_paid_once_are_charged_when_the_outcome_is_unknown(rig: Rig):
    rig.backend.once(scripted.reset())
    await rig.call("reveal_contacts", contacts("a", "b"))
    assert (await rig.books()).left() == 8
    await rig.call("reveal_contacts", contacts("a", "b"))  # the repeat is free
    assert (await rig.books()).left() == 8


async def test_the_retry_with_input_is_priced_again(rig: Rig):
    rig.backend.once(scripted.input_required())
    first = await rig.call("reveal_contacts", contacts("a", "b"))
    assert first.json["result"]["resultType"] == "input_required"
    assert (await rig.books()).left() == 10
    params = {"name": "reveal_contacts", "arguments": contacts("a"), "requestState": "opaque", "inputResponses": {}}
    assert (await rig.post("tools/call", params)).status == 200
    assert rig.backend.last.message["params"]["requestState"] == "opaque"
    assert (await rig.books()).left() == 9


async def test_a_stream_that_ends_early_charges_the_reserve(launch: Launch):
    rig = await launch()  # on_unknown: release
    rig.backend.on("search_shopify_contacts", stream({"jsonrpc": "2.0", "method": "notifications/message"}, ids=True))
    reply = await rig.call("search_shopify_contacts", {"limit": 3}, revision=LEGACY)
    assert [event.get("method") for event in reply.events] == [
        "notifications/message",
        None,
    ]  # no session to come back to
    assert (await rig.books()).left() == 7
    reply = await rig.call("search_shopify_contacts", {"limit": 3}, revision=MODERN)
    assert reply.events[-1]["error"]["data"]["code"] == "backend_unavailable"
    assert (await rig.books()).left() == 4


async def test_only_the_first_response_of_a_stream_counts(rig: Rig):
    async def twice(turn: Turn) -> None:
        await turn.open_stream()
        for rows in ([1], [1, 2, 3]):
            await turn.event(turn.response({"result": tool_result({"rows": rows})}))
        await turn.end_stream()

    rig.backend.once(twice)
    reply = await rig.call("search_shopify_contacts", {"limit": 3})
    assert len(reply.events) == 1
    assert (await rig.books()).left() == 9


async def test_what_goes_wrong_after_the_response_changes_nothing(rig: Rig):
    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(turn.response({"result": tool_result({"rows": [1]})}))
        turn.reset()

    rig.backend.once(behave)
    reply = await rig.call("search_shopify_contacts", {"limit": 3})
    assert len(reply.events) == 1
    assert "result" in reply.events[0]
    assert (await rig.books()).left() == 9


# --- clients that leave --------------------------------------------------------------------------


@MEDIA
async def test_a_legacy_call_is_read_to_its_end_without_its_client(rig: Rig, media: str):
    gate = asyncio.Event()
    rig.backend.rows = 1
    rig.backend.once(scripted.after(gate, answers(media)))
    await leave(rig, LEGACY)
    assert (await rig.books()).left() == 7  # still reserved
    gate.set()
    line = (await rig.recorded())[0]
    assert (line["code"], line["credits"]) == ("ok", {"contact": 1})
    assert (await rig.books()).left() == 9
    assert not rig.backend.hang_ups


async def test_a_legacy_call_whose_client_left_and_that_fails_settles_like_any(launch: Launch):
    rig = await launch()
    gate = asyncio.Event()

    async def behave(turn: Turn) -> None:
        await gate.wait()
        await scripted.rpc_error()(turn)

    rig.backend.once(behave)
    await leave(rig, LEGACY)
    gate.set()
    assert (await rig.recorded())[0]["code"] == "rpc_error"
    assert (await rig.books()).left() == 10


async def test_a_stateless_call_whose_client_left_is_cancelled_and_charged_its_reserve(rig: Rig):
    rig.backend.once(scripted.silent())
    await leave(rig, MODERN)
    await until(lambda: len(rig.backend.hang_ups) == 1)
    line = (await rig.recorded())[0]
    assert (line["code"], line["credits"]) == ("client_gone", {"contact": 3})
    assert (await rig.books()).left() == 7


@ERAS
async def test_a_client_that_leaves_a_stream_after_the_response_has_paid_the_true_price(rig: Rig, revision: str):
    more = asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(turn.response({"result": tool_result({"rows": [1]})}))
        await more.wait()
        turn.close()

    rig.backend.once(behave)
    async with rig.stream("search_shopify_contacts", {"limit": 3}, revision=revision) as stream:
        assert await stream.message()
    more.set()
    assert (await rig.recorded())[0]["credits"] == {"contact": 1}
    assert (await rig.books()).left() == 9


async def leave(rig: Rig, revision: str) -> None:
    """Call, wait until the backend has the request, and hang up; returns when the sidecar has noticed."""
    call = asyncio.create_task(rig.call("search_shopify_contacts", {"limit": 3}, revision=revision))
    await until(lambda: len(rig.backend.received) == 1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await until(lambda: rig.sidecar.pipeline.detached == 1 or rig.sidecar.pipeline.in_flight == 0)


# --- order ---------------------------------------------------------------------------------------


@MEDIA
async def test_a_following_call_sees_what_the_last_one_cost(launch: Launch, media: str):
    """Ten calls in a row for the last credits: each settles before its client can know its result."""
    rig = await launch(credits=3)
    rig.backend.rows = 0
    rig.backend.on("search_shopify_contacts", answers(media))
    for _ in range(10):
        reply = await rig.call("search_shopify_contacts", {"limit": 3})
        assert (reply.events[-1] if media == "sse" else reply.json)["result"]["isError"] is False
    assert (await rig.books()).left() == 3


async def test_the_settle_is_written_before_the_final_event_is_relayed(launch: Launch):
    rig = await launch(credits=3)
    rig.backend.rows = 0
    more = asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(turn.response({"result": tool_result({"rows": []})}))
        await more.wait()
        await turn.end_stream()

    rig.backend.once(behave)
    async with rig.stream("search_shopify_contacts", {"limit": 3}) as stream:
        assert await stream.message()
        assert (await rig.call("search_shopify_contacts", {"limit": 3})).status == 200  # the stream is still open
        more.set()
        assert await stream.message() is None
    assert (await rig.books()).left() == 3


async def test_usage_counts_itself(rig: Rig):
    reply = await rig.call("get_usage")
    usage: Any = reply.json["result"]["structuredContent"]
    assert usage["quotas"]["requests"]["day"]["used"] == 1
    assert not rig.backend.received
    assert (await rig.books()).used == {"requests": 1}


# --- a store that fails --------------------------------------------------------------------------


@pytest.fixture
async def faulty(fault_proxy: FaultProxy, own_server: StoreServer, launch: Launch) -> Rig:
    """A sidecar whose store is behind the fault proxy."""
    return await launch(server=own_server, store_url=fault_proxy.url)


@MEDIA
async def test_a_settle_that_cannot_reach_the_store_is_given_again(faulty: Rig, fault_proxy: FaultProxy, media: str):
    rig, gate = faulty, asyncio.Event()
    rig.backend.rows = 1
    rig.backend.once(scripted.after(gate, answers(media)))
    call = asyncio.create_task(rig.call("search_shopify_contacts", {"limit": 3}))
    await until(lambda: len(rig.backend.received) == 1)
    await fault_proxy.refuse()
    gate.set()
    assert (await call).status == 200  # it ran, so its client gets what it asked for
    await fault_proxy.listen()
    line = (await rig.recorded())[0]
    assert (line["code"], line["credits"]) == ("ok", {"contact": 1})
    books = await rig.books()
    assert (books.left(), books.holds) == (9, 0)


async def test_a_settle_whose_answer_is_lost_is_applied_once(faulty: Rig, fault_proxy: FaultProxy):
    rig, gate = faulty, asyncio.Event()
    rig.backend.rows = 1
    rig.backend.once(scripted.after(gate, scripted.default()))
    call = asyncio.create_task(rig.call("search_shopify_contacts", {"limit": 3}))
    await until(lambda: len(rig.backend.received) == 1)
    fault_proxy.cut_on_reply = True
    gate.set()
    assert (await call).status == 200
    assert (await rig.recorded())[0]["credits"] == {"contact": 1}
    assert (await rig.books()).left() == 9


async def test_an_admission_whose_answer_is_lost_reserves_nothing(faulty: Rig, fault_proxy: FaultProxy):
    rig = faulty
    fault_proxy.cut_on_reply = True
    reply = await rig.call("search_shopify_contacts", {"limit": 3})
    assert (reply.status, reply.code) == (503, "store_unavailable")
    assert not rig.backend.received
    await until(lambda: rig.sidecar.store.outbox.undelivered == 0)
    books = await rig.books()
    assert (books.left(), books.used.get("requests", 0), books.holds) == (10, 0, 0)


@ERAS
async def test_a_client_that_leaves_during_its_admission_costs_nothing(
    faulty: Rig, fault_proxy: FaultProxy, revision: str
):
    rig = faulty
    fault_proxy.drop_replies = True
    call = asyncio.create_task(rig.call("search_shopify_contacts", {"limit": 3}, revision=revision))
    before = fault_proxy.passed
    await until(lambda: fault_proxy.passed > before)
    call.cancel()
    await until(lambda: rig.sidecar.pipeline.in_flight == 0)
    fault_proxy.drop_replies = False
    fault_proxy.cut()
    await until(lambda: rig.sidecar.store.outbox.undelivered == 0)
    books = await rig.books()
    assert (books.left(), books.used.get("requests", 0), books.holds) == (10, 0, 0)
    assert not rig.backend.received


# --- clients that cancel (older revisions; later ones disconnect) ---------------------------------


async def cancelled(rig: Rig, outcome: Behaviour, *, asked: Any = 7, canceller: str = "cli-1") -> Json:
    """Cancel request 7 of a session while the backend works on it; the line of that call once it has ended."""
    await rig.grant("ada", "cli-2")
    session = await rig.session()
    headers = {"Mcp-Session-Id": session}
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, outcome))
    call = asyncio.create_task(
        rig.call("search_shopify_contacts", {"limit": 3}, revision=LEGACY, id_=7, headers=headers)
    )
    await until(lambda: len(rig.backend.received) == 2)
    token = rig.issuer.mint(client_id=canceller)
    await rig.post("notifications/cancelled", {"requestId": asked}, revision=LEGACY, headers=headers, token=token)
    gate.set()
    await call
    await until(lambda: any(line["tool"] for line in rig.calls))
    return next(line for line in rig.calls if line["tool"])


@pytest.fixture
async def with_sessions(launch: Launch) -> Rig:
    return await launch(scripted=scripted.Backend(sessions=True, rows=1))


@pytest.mark.parametrize(
    "outcome", [scripted.rpc_error(), scripted.hang_up(), stream()], ids=["error", "gone", "ended"]
)
async def test_a_cancelled_call_without_a_delivered_result_costs_its_reserve(with_sessions: Rig, outcome: Behaviour):
    line = await cancelled(with_sessions, outcome)
    assert line["credits"] == {"contact": 3}
    assert (await with_sessions.books()).left() == 7


@pytest.mark.parametrize("asked", ["7", " +7 "])
async def test_an_id_that_servers_take_for_the_call_s_cancels_it_at_its_price(with_sessions: Rig, asked: str):
    assert (await cancelled(with_sessions, scripted.rpc_error(), asked=asked))["credits"] == {"contact": 3}


async def test_a_cancelled_call_whose_result_was_seen_costs_the_true_price(with_sessions: Rig):
    line = await cancelled(with_sessions, scripted.default())
    assert line["credits"] == {"contact": 1}
    assert (await with_sessions.books()).left() == 9


@pytest.mark.parametrize(
    ("asked", "canceller"), [(8, "cli-1"), ("seven", "cli-1"), ({"id": 7}, "cli-1"), (7.5, "cli-1"), (7, "cli-2")]
)
async def test_other_cancellations_change_nothing(with_sessions: Rig, asked: Any, canceller: str):
    await cancelled(with_sessions, scripted.rpc_error(), asked=asked, canceller=canceller)
    assert (await with_sessions.books()).left() == 10
