"""2025-06-18 and 2025-11-25: a person is asked on the call's own stream, and the answer may reach any sidecar."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sidecar.store.commands import changes
from sidecar.store.commands.keys import account_keys
from tests.proxy.confirming.questions import post
from tests.proxy.confirming.support import ARGUMENTS, FORM, TOOL, confirmed_policy
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.backend import Backend
from tests.support.rig import LEGACY, REFUSAL, Json, Rig, Stream, second_sidecar
from tests.support.store import FaultProxy, StoreServer, until

JUNE = "2025-06-18"


async def begun(launch: Launch, confirm: Json | None = None, **options: Any) -> Rig:
    return await launch(policy=confirmed_policy(confirm), scripted=Backend(sessions=True), **options)


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    return await begun(launch)


async def session_of(rig: Rig, capabilities: Json | None = None, *, version: str = LEGACY, **options: Any) -> str:
    """Open a session; its client can ask its user in a form unless `capabilities` say otherwise."""
    declared = FORM if capabilities is None else capabilities
    reply = await rig.initialize(version=version, capabilities=declared, **options)
    assert reply.status == 200, reply
    return reply.headers["Mcp-Session-Id"]


@dataclass(slots=True)
class Asked:
    """A call that waits for its user: its stream, and the question on it."""

    rig: Rig
    stream: Stream
    session: str
    revision: str
    question: Json

    async def answer(self, by: Rig | None = None, *, token: str = "", **outcome: Any) -> int:
        """Answer as its client does; accepted unless `outcome` says otherwise."""
        outcome = outcome or {"result": {"action": "accept", "content": {}}}
        message = {"jsonrpc": "2.0", "id": self.question["id"], **outcome}
        return (await post(by or self.rig, message, session=self.session, token=token, revision=self.revision)).status

    async def rest(self) -> list[Json]:
        """The messages that follow, to the end of the stream."""
        found = []
        while (message := await self.stream.message()) is not None:
            found.append(message)
        return found

    async def code(self) -> str | None:
        """The code of the refusal with which the stream ends; None for a result."""
        last = (await self.rest())[-1]
        if "error" in last:
            return str(last["error"]["data"]["code"])
        found: Json = (last["result"].get("_meta") or {}).get(REFUSAL, {})
        return found.get("code")


@asynccontextmanager
async def asked(
    rig: Rig, *, session: str | None = None, revision: str = LEGACY, **arguments: Any
) -> AsyncIterator[Asked]:
    """Call the tool in a session, and read the question."""
    session = session or await session_of(rig, version=revision)
    given = {**ARGUMENTS, **arguments}
    async with rig.stream(TOOL, given, revision=revision, session=session) as stream:
        assert (stream.status, stream.answer.content_type) == (200, "text/event-stream")
        assert stream.answer.headers["Cache-Control"] == "no-store"
        question = await stream.message()
        assert question is not None
        yield Asked(rig, stream, session, revision, question)


def sent(rig: Rig) -> list[Json]:
    """Params of the calls that the backend has received."""
    return [each.message["params"] for each in rig.backend.received if each.message.get("method") == "tools/call"]


async def untouched(rig: Rig) -> bool:
    """Return True when nothing was forwarded, reserved or charged, and no call waits."""
    books = await rig.books()
    await until(lambda: len(rig.sidecar.pipeline.confirmations.waiting) == 0)
    return not sent(rig) and (books.left(), books.holds, books.used.get("requests", 0)) == (10, 0, 0)


def state(rig: Rig, question: Json) -> str | None:
    handle = question["id"].rpartition("/")[2].partition(".")[0]
    with rig.redis() as store:
        found: Any = store.hget(account_keys("main", "ada").approval(handle), "status")
    return None if found is None else str(found)


@pytest.mark.parametrize("revision", [JUNE, LEGACY])
async def test_a_person_accepts_and_the_call_runs_once(rig: Rig, revision: str):
    async with asked(rig, revision=revision) as call:
        assert call.question["method"] == "elicitation/create"
        assert call.question["params"] == {
            **({"mode": "form"} if revision == LEGACY else {}),
            "message": 'Reveal contacts: Reveal "a", "b" ("none")?\nIt costs 2 of your 10 contact credits.',
            "requestedSchema": {"type": "object", "properties": {}},
        }
        assert await untouched_so_far(rig)
        assert await call.answer() == 202
        (message,) = await call.rest()
        assert not message["result"].get("isError")
    (params,) = sent(rig)
    assert params["arguments"] == {**ARGUMENTS, "reason": "none"}
    assert (await rig.books()).left() == 8
    assert [each for each in rig.backend.received if "method" not in each.message and each.body] == []
    line = await rig.line(method="tools/call")
    assert (line["code"], line["http_status"], line["credits"]) == ("ok", 200, {"contact": 2})
    assert state(rig, call.question) == "used"


async def untouched_so_far(rig: Rig) -> bool:
    """Return True when nothing was forwarded, reserved or charged while a call waits."""
    books = await rig.books()
    return not sent(rig) and (books.left(), books.holds, books.used.get("requests", 0)) == (10, 0, 0)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ({"result": {"action": "decline"}}, "confirmation_declined"),
        ({"result": {"action": "cancel"}}, "confirmation_declined"),
        ({"result": {"action": "ACCEPT"}}, "confirmation_unavailable"),
        ({"result": {"action": "accept", "content": ["yes"]}}, "confirmation_unavailable"),
        ({"error": {"code": -32601, "message": "Method not found"}}, "confirmation_unavailable"),
    ],
)
async def test_a_call_that_is_not_accepted_does_not_run(rig: Rig, outcome: Json, code: str):
    async with asked(rig) as call:
        assert await call.answer(**outcome) == 202
        assert await call.code() == code
    assert await untouched(rig)
    line = await rig.line(method="tools/call")
    assert (line["code"], line["http_status"], line["gate"]) == (code, 200, "policy")


@pytest.mark.parametrize("capabilities", [{}, {"elicitation": {"url": {}}}, {"elicitation": None}, {"sampling": {}}])
async def test_a_client_that_cannot_ask_is_told_at_once(rig: Rig, capabilities: Json):
    session = await session_of(rig, capabilities)
    reply = await rig.call(TOOL, ARGUMENTS, revision=LEGACY, headers={"Mcp-Session-Id": session})
    assert (reply.status, reply.headers["Content-Type"], reply.code) == (
        200,
        "application/json",
        "confirmation_unavailable",
    )
    assert await untouched(rig)


async def test_without_a_session_or_a_revision_that_asks_it_is_unavailable(rig: Rig):
    assert (await rig.call(TOOL, ARGUMENTS, revision=LEGACY)).code == "confirmation_unavailable"
    session = await session_of(rig)
    headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": None}
    assert (await rig.call(TOOL, ARGUMENTS, revision=LEGACY, headers=headers)).code == "confirmation_unavailable"
    assert await untouched(rig)


async def test_a_client_that_cannot_ask_falls_back_to_the_argument_where_the_rule_says_so(launch: Launch):
    rig = await begun(launch, {"by": "person", "or": "argument", "argument": "sure", "inject": True})
    session = await session_of(rig, {})
    headers = {"Mcp-Session-Id": session}
    assert (await rig.call(TOOL, ARGUMENTS, revision=LEGACY, headers=headers)).code == "confirmation_required"
    reply = await rig.call(TOOL, {**ARGUMENTS, "sure": True}, revision=LEGACY, headers=headers)
    assert reply.code is None
    assert len(sent(rig)) == 1
    async with asked(rig, sure=True) as call:  # the argument of a model is no substitute for a person
        assert await call.answer(result={"action": "decline"}) == 202
        assert await call.code() == "confirmation_declined"
    assert len(sent(rig)) == 1


async def test_refusals_of_the_other_gates_come_first_and_as_usual(rig: Rig):
    session = await session_of(rig)
    await rig.run(changes.change_credits("main", "ada", "set", "contact", 1, operation="poor"))
    reply = await rig.call(TOOL, ARGUMENTS, revision=LEGACY, headers={"Mcp-Session-Id": session})
    assert (reply.status, reply.code) == (200, "insufficient_credits")
    reply = await rig.call(TOOL, ARGUMENTS, revision=LEGACY, headers={"Mcp-Session-Id": "unknown"})
    assert (reply.status, reply.code) == (404, "session_unknown")


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (scripted.reset(), "backend_unavailable"),
        (scripted.http(404, b"no such thing"), "backend_unavailable"),
        (
            scripted.http(400, b'{"jsonrpc": "2.0", "id": "another", "error": {"code": 1, "message": "no"}}'),
            "backend_unavailable",
        ),
        (scripted.http(503), "backend_unavailable"),
        (scripted.http(401), "backend_unavailable"),
    ],
)
async def test_what_would_have_been_a_status_is_an_error_event(rig: Rig, behaviour: scripted.Behaviour, code: str):
    async with asked(rig) as call:
        rig.backend.once(behaviour)
        await call.answer()
        (message,) = await call.rest()
        assert message["error"]["data"]["code"] == code
        assert message["id"] == rig.ids
    assert (await rig.line(method="tools/call"))["code"] == code
    assert (await rig.books()).holds == 0


async def test_an_error_of_the_backend_reaches_the_client_whatever_its_status(rig: Rig):
    for status in (200, 400):
        async with asked(rig) as call:
            rig.backend.once(scripted.rpc_error(-32602, "which contact?", status))
            await call.answer()
            (message,) = await call.rest()
            assert (message["id"], message["error"]["message"]) == (rig.ids, "which contact?")
    assert (await rig.books()).left() == 10


async def test_a_json_answer_and_a_stream_of_the_backend_are_events(rig: Rig):
    async def pretty(turn: scripted.Turn) -> None:
        document = turn.response({"result": {"content": [{"type": "text", "text": "a\r\nb"}]}})
        await turn.reply(200, json.dumps(document, indent=1).replace("\n", "\r\n").encode(), media="application/json")

    async def streamed(turn: scripted.Turn) -> None:
        await turn.open_stream()
        await turn.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})
        await turn.event(turn.response({"result": {"content": []}}))
        await turn.end_stream()

    async with asked(rig) as call:
        rig.backend.once(pretty)
        await call.answer()
        (message,) = await call.rest()
        assert message["result"]["content"][0]["text"] == "a\r\nb"
    async with asked(rig, contact_ids=["c"]) as call:
        rig.backend.once(streamed)
        await call.answer()
        assert [each.get("method", "response") for each in await call.rest()] == ["notifications/message", "response"]


async def test_credits_that_are_gone_by_then_refuse_the_call(rig: Rig):
    async with asked(rig) as call:
        await rig.run(changes.change_credits("main", "ada", "set", "contact", 1, operation="spent"))
        await call.answer()
        assert await call.code() == "insufficient_credits"
    assert sent(rig) == []


async def test_a_consent_that_is_revoked_meanwhile_refuses_the_call(rig: Rig):
    async with asked(rig) as call:
        await rig.revoke()
        assert await call.answer() == 401
        handle = call.question["id"].rpartition("/")[2].partition(".")[0]
        with rig.redis() as store:  # accepted before the revocation
            store.hset(account_keys("main", "ada").approval(handle), "status", "accepted")
            store.publish("mcp:revoked", f"{account_keys('main', 'ada').digest} answered:{handle}")
        assert await call.code() == "consent_revoked"
    assert sent(rig) == []


async def test_a_question_that_expires_ends_the_call(rig: Rig):
    async with asked(rig) as call:
        handle = call.question["id"].rpartition("/")[2].partition(".")[0]
        with rig.redis() as store:
            store.delete(account_keys("main", "ada").approval(handle))
        *others, last = await call.rest()
        assert [each["method"] for each in others] == ["notifications/cancelled"]
        assert others[0]["params"]["requestId"] == call.question["id"]
        assert last["result"]["_meta"][REFUSAL]["code"] == "confirmation_expired"
        assert await call.answer() == 202  # a late answer is ignored
    assert await untouched(rig)


async def test_a_client_that_cancels_gets_no_answer(rig: Rig):
    async with asked(rig) as call:
        cancelled = {"requestId": rig.ids, "reason": "changed my mind"}
        reply = await rig.post(
            "notifications/cancelled", cancelled, revision=LEGACY, headers={"Mcp-Session-Id": call.session}
        )
        assert reply.status == 202
        assert [each.get("method") for each in await call.rest()] == ["notifications/cancelled"]
    line = await rig.line(method="tools/call")
    assert (line["code"], line["http_status"]) == ("client_gone", 200)
    assert state(rig, call.question) == "declined"
    assert await untouched(rig)
    methods = [each.message.get("method") for each in rig.backend.received if each.body]
    assert "notifications/cancelled" not in methods, "the backend does not know the call"


async def test_the_time_of_a_person_is_not_the_sidecar_s(rig: Rig):
    async with asked(rig) as call:
        await asyncio.sleep(0.3)
        await call.answer()
        assert await call.code() is None
    line = await rig.line(method="tools/call")
    labels = '{method="tools/call",tool="reveal_contacts"}'
    spent = await rig.metric(f"mcp_sidecar_request_seconds_sum{labels}")
    assert spent is not None
    assert line["latency_ms"] >= spent * 1000 + 250


async def test_a_lost_stream_ends_the_question(rig: Rig):
    async with asked(rig) as call:
        pass  # leaving disconnects
    assert (await rig.line(method="tools/call"))["code"] == "client_gone"
    await until(lambda: state(rig, call.question) == "declined")
    assert await call.answer() == 202
    assert await untouched(rig)


async def test_an_ended_session_ends_its_questions(rig: Rig):
    async with asked(rig) as call:
        assert (await rig.delete(session=call.session)).status == 204
        await call.rest()
    assert (await rig.line(method="tools/call"))["code"] == "client_gone"
    assert await untouched(rig)


async def test_the_answer_may_reach_another_sidecar(rig: Rig, tmp_path: Path):
    folder = tmp_path / "other"
    folder.mkdir()
    async with second_sidecar(rig, folder) as other:
        await until(lambda: rig.sidecar.request_path.revocations.subscription_up)
        async with asked(rig) as call:
            assert await call.answer(other) == 202
            assert await call.code() is None
        async with asked(rig, contact_ids=["c"]) as call:
            assert await call.answer(other, error={"code": -32600, "message": "not here"}) == 202
            assert await call.code() == "confirmation_unavailable"
    assert len(sent(rig)) == 1


async def test_an_answer_that_no_message_announces_is_found(launch: Launch):
    rig = await begun(launch)
    async with asked(rig) as call:
        handle = call.question["id"].rpartition("/")[2].partition(".")[0]
        with rig.redis() as store:
            store.hset(account_keys("main", "ada").approval(handle), "status", "accepted")
        assert await call.code() is None
    assert len(sent(rig)) == 1


STRANGERS: dict[str, Json] = {
    "client": {"client_id": "cli-2"},
    "account": {"subject": "bob"},
}


@pytest.mark.parametrize("claims", STRANGERS.values(), ids=list(STRANGERS))
async def test_an_answer_of_another_caller_is_ignored(rig: Rig, claims: Json):
    await rig.account("bob")
    await rig.grant("bob", "cli-1")
    await rig.grant("ada", "cli-2")
    token = rig.issuer.mint(**claims)
    theirs = await session_of(rig, token=token)
    async with asked(rig) as call:
        message = {"jsonrpc": "2.0", "id": call.question["id"], "result": {"action": "accept"}}
        assert (await post(rig, message, session=theirs, token=token)).status == 202
        assert state(rig, call.question) == "pending"
        await call.answer(result={"action": "decline"})
        assert await call.code() == "confirmation_declined"
    assert await untouched(rig)


async def test_a_higher_price_is_asked_about_again(rig: Rig):
    key = account_keys("main", "ada").paid
    with rig.redis() as store:
        store.sadd(key, "credit:contact:a", "credit:contact:b")
    async with asked(rig) as call:
        assert "costs" not in call.question["params"]["message"] or " 0 " in call.question["params"]["message"]
        with rig.redis() as store:
            store.delete(key)
        await call.answer()
        again = await call.stream.message()
        assert again is not None
        assert again["id"] != call.question["id"]
        assert "2 of your 10" in again["params"]["message"]
        call.question = again
        await call.answer()
        assert await call.code() is None
    assert len(sent(rig)) == 1
    assert (await rig.books()).left() == 8


async def test_a_reload_that_changes_the_rule_refuses_what_was_asked_before(rig: Rig):
    async with asked(rig) as call:
        changed = confirmed_policy({"by": "person", "message": "Other {contact_ids}?", "title": "Other"})
        (rig.config.parent / "policy.yaml").write_text(json.dumps(changed))
        assert await rig.sidecar.reload()
        await call.answer()
        assert await call.code() == "confirmation_expired"
    assert await untouched(rig)


async def test_a_call_outlives_an_outage_of_the_store(launch: Launch, own_server: StoreServer, fault_proxy: FaultProxy):
    rig = await begun(launch, server=own_server, store_url=fault_proxy.url)
    async with asked(rig) as call:
        await fault_proxy.refuse()
        assert await call.answer() == 503
        await fault_proxy.listen()
        await until(lambda: rig.sidecar.store.up)
        assert await call.answer() == 202
        assert await call.code() is None
    assert len(sent(rig)) == 1
    assert (await rig.books()).left() == 8


async def test_a_stop_ends_the_wait(launch: Launch):
    rig = await begun(launch)
    async with asked(rig) as call:
        rig.sidecar.pipeline.confirmations.waiting.stop()
        *_, last = await call.rest()
        assert last["error"]["data"]["code"] == "overloaded"
        assert state(rig, call.question) == "declined"
    assert await untouched(rig)


async def test_comments_keep_a_waiting_stream_open(launch: Launch):
    rig = await begun(launch, backend={"keepalive": "50ms"})
    async with asked(rig) as call:
        for _ in range(3):
            assert await call.stream.event() == ": keepalive\n"
        await call.answer()
        assert await call.code() is None


async def test_calls_that_wait_leave_room_for_their_answers(launch: Launch):
    rig = await begun(launch, limits={"in_flight_per_account": 2})
    session = await session_of(rig)
    async with asked(rig, session=session) as one, asked(rig, session=session, contact_ids=["c"]) as other:
        reply = await rig.call(TOOL, ARGUMENTS, revision=LEGACY, headers={"Mcp-Session-Id": session})
        assert (reply.status, reply.code) == (503, "overloaded")
        await asyncio.gather(one.answer(), other.answer())
        assert [await one.code(), await other.code()] == [None, None]
    assert len(sent(rig)) == 2
