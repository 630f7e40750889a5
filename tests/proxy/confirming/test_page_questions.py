"""`by: page`: the account holder answers on the account page, to which the client or the refusal leads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidecar.approval import ApprovalStatus
from sidecar.store.commands.keys import account_keys
from sidecar.store.commands.shipped import ADMIT
from tests.proxy.confirming.questions import approvals
from tests.proxy.confirming.support import ARGUMENTS, TOOL, answer, ask, confirmed_policy, question_of, state_of
from tests.proxy.confirming.test_session_questions import Asked, asked, sent, session_of
from tests.proxy.support import Launch
from tests.support.backend import Backend
from tests.support.rig import LEGACY, MODERN, Json, Reply, Rig, Stream
from tests.support.store import FaultProxy, StoreServer, until

PAGE: Json = {"by": "page", "message": "Reveal {contact_ids}?", "title": "Reveal contacts"}
URL: Json = {"elicitation": {"url": {}}}
FORM: Json = {"elicitation": {}}
TEXT = 'Reveal contacts: Reveal "a", "b"?\nIt costs 2 of your 10 contact credits.'


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    return await started(launch)


async def started(launch: Launch, confirm: Json | None = None, **options: Any) -> Rig:
    policy = confirmed_policy(PAGE if confirm is None else confirm)
    page = {"client_id": "page"}
    return await launch(policy=policy, scripted=Backend(sessions=True), account_page=page, **options)


def page_of(reply: Reply) -> str:
    """The page that a refusal names, in its text and in its machine detail."""
    assert reply.code == "confirmation_required"
    page = reply.detail["confirm"]["page"]
    assert page in reply.json["result"]["content"][0]["text"]
    return str(page)


async def visit(rig: Rig, address: str, *, accepts: bool = True) -> ApprovalStatus | None:
    """Answer on the page of an approval, as its visitor does."""
    start = f"{rig.url.removesuffix('/mcp')}/account/confirm/"
    assert address.startswith(start)
    handle = address.removeprefix(start)
    return await approvals(rig).answer("main", "ada", handle, "ada", accepted=accepts)


async def call(rig: Rig, revision: str, session: str | None = None, **arguments: Any) -> Reply:
    """Call the tool as a client that cannot open pages."""
    given = {**ARGUMENTS, **arguments}
    if revision == MODERN:
        return await ask(rig, given, capabilities=FORM)
    return await rig.call(TOOL, given, revision=revision, headers={"Mcp-Session-Id": session})


@pytest.mark.parametrize("revision", [MODERN, LEGACY, "2025-06-18"])
async def test_without_url_mode_the_refusal_names_the_page_and_the_next_identical_call_passes(rig: Rig, revision: str):
    declared = URL if revision == "2025-06-18" else FORM  # that revision has no URL mode
    session = None if revision == MODERN else await session_of(rig, declared, version=revision)
    address = page_of(await call(rig, revision, session))
    assert page_of(await call(rig, revision, session)) == address, "one question about one call"
    assert sent(rig) == []
    assert await visit(rig, address) is ApprovalStatus.ACCEPTED
    other = page_of(await call(rig, revision, session, contact_ids=["c"]))
    assert other != address
    assert (await call(rig, revision, session)).code is None
    assert page_of(await call(rig, revision, session)) not in (address, other), "an approval is used once"
    assert len(sent(rig)) == 1
    assert (await rig.books()).left() == 8


async def test_the_page_serves_callers_without_a_session_too(rig: Rig):
    address = page_of(await call(rig, LEGACY))
    await visit(rig, address)
    assert (await call(rig, LEGACY)).code is None


async def test_a_declined_page_refuses_the_identical_call(rig: Rig):
    address = page_of(await call(rig, MODERN))
    assert await visit(rig, address, accepts=False) is ApprovalStatus.DECLINED
    assert (await call(rig, MODERN)).code == "confirmation_declined"
    assert page_of(await call(rig, MODERN, contact_ids=["c"]))
    assert sent(rig) == []


@pytest.mark.parametrize("claims", [{"client_id": "cli-2"}, {"subject": "bob"}])
async def test_an_approval_is_of_its_caller_alone(rig: Rig, claims: Json):
    await rig.account("bob", credits=10)
    await rig.grant("bob")
    await rig.grant("ada", "cli-2")
    await visit(rig, page_of(await call(rig, MODERN)))
    theirs = await ask(rig, capabilities=FORM, token=rig.issuer.mint(**claims))
    assert theirs.code == "confirmation_required"
    assert sent(rig) == []


@asynccontextmanager
async def opened(rig: Rig) -> AsyncIterator[Asked]:
    """Call the tool in a session whose client can open pages."""
    async with asked(rig, session=await session_of(rig, URL)) as waiting:
        yield waiting


async def test_a_session_s_client_opens_the_page_and_the_call_waits_for_its_answer(rig: Rig):
    async with opened(rig) as waiting:
        params = waiting.question["params"]
        handle = waiting.question["id"].rpartition("/")[2].partition(".")[0]
        address = f"{rig.url.removesuffix('/mcp')}/account/confirm/{handle}"
        assert params == {"mode": "url", "message": TEXT, "url": address, "elicitationId": handle}
        assert await waiting.answer(result={"action": "accept"}) == 202
        assert sent(rig) == [], "the client says that it opens the page, and no more"
        await visit(rig, address)
        completed, result = await waiting.rest()
        assert completed["method"] == "notifications/elicitation/complete"
        assert completed["params"] == {"elicitationId": handle}
        assert not result["result"].get("isError")
    assert len(sent(rig)) == 1


async def test_a_page_may_be_answered_before_the_client_says_that_it_opens_it(rig: Rig):
    async with opened(rig) as waiting:
        await visit(rig, waiting.question["params"]["url"])
        assert await waiting.code() is None
        assert await waiting.answer(result={"action": "accept"}) == 202
    assert len(sent(rig)) == 1


@pytest.mark.parametrize("where", ["client", "page"])
async def test_a_page_that_is_not_opened_or_declined_refuses_the_call(rig: Rig, where: str):
    async with opened(rig) as waiting:
        if where == "client":
            await waiting.answer(result={"action": "decline"})
        else:
            await visit(rig, waiting.question["params"]["url"], accepts=False)
        assert await waiting.code() == "confirmation_declined"
    assert sent(rig) == []


async def test_two_identical_calls_have_one_question_and_one_of_them_runs(rig: Rig):
    async with opened(rig) as one, asked(rig, session=one.session) as other:
        assert one.question["params"] == other.question["params"]
        assert one.question["id"] != other.question["id"]
        await visit(rig, one.question["params"]["url"])
        codes = [await one.code(), await other.code()]
    assert sorted(codes, key=str) == [None, "confirmation_expired"]
    assert len(sent(rig)) == 1


async def test_a_lost_stream_leaves_the_page_and_the_next_identical_call_passes(rig: Rig):
    async with opened(rig) as waiting:
        address = waiting.question["params"]["url"]
    await until(lambda: len(rig.sidecar.pipeline.confirmations.waiting) == 0)
    await visit(rig, address)
    assert (await call(rig, LEGACY, waiting.session)).code is None
    assert len(sent(rig)) == 1


@asynccontextmanager
async def retried(rig: Rig, asked_for: Reply) -> AsyncIterator[Stream]:
    """Retry a call of 2026-07-28 whose client says that it opens the page; leaving disconnects."""
    params = {
        "name": TOOL,
        "arguments": ARGUMENTS,
        "_meta": {"io.modelcontextprotocol/clientCapabilities": URL},
        **answer(state_of(asked_for)),
    }
    message = rig.message("tools/call", params)
    async with rig.http.post(rig.url, json=message, headers=rig.request_headers(message, MODERN, "")) as reply:
        try:
            yield Stream(reply)
        finally:
            reply.close()


async def test_in_2026_07_28_the_retry_waits_for_the_page(launch: Launch):
    rig = await started(launch, backend={"keepalive": "50ms"})
    asked_for = await ask(rig, capabilities=URL)
    question = question_of(asked_for)
    assert question == {"mode": "url", "message": TEXT, "url": question["url"]}
    async with retried(rig, asked_for) as stream:
        assert (stream.status, stream.answer.content_type) == (200, "text/event-stream")
        assert await stream.event() == ": keepalive\n"
        assert sent(rig) == []
        await visit(rig, question["url"])
        message = await stream.message()
        assert message is not None
        assert message["result"]["resultType"] == "complete"
        assert await stream.message() is None
    (params,) = sent(rig)
    assert {"requestState", "inputResponses"}.isdisjoint(params)
    assert (await rig.books()).left() == 8


async def test_in_2026_07_28_a_page_answered_before_the_retry_needs_no_stream(rig: Rig):
    asked_for = await ask(rig, capabilities=URL)
    await visit(rig, question_of(asked_for)["url"])
    reply = await ask(rig, capabilities=URL, params=answer(state_of(asked_for)))
    assert (reply.headers["Content-Type"], reply.code) == ("application/json", None)
    again = await ask(rig, capabilities=URL, params=answer(state_of(asked_for)))
    assert again.code == "confirmation_expired"
    assert len(sent(rig)) == 1


@pytest.mark.parametrize(("status", "code"), [("accepted", None), ("declined", "confirmation_declined")])
async def test_in_2026_07_28_a_page_answered_while_the_retry_is_judged_is_not_asked_again(
    fault_proxy: FaultProxy, own_server: StoreServer, launch: Launch, status: str, code: str | None
):
    rig = await started(launch, server=own_server, store_url=fault_proxy.url)
    asked_for = await ask(rig, capabilities=URL)
    handle = question_of(asked_for)["url"].rpartition("/")[2]
    requests: list[bytes] = []

    def answer_after_admission(data: bytes) -> bytes:
        requests.append(data)
        judged = [ADMIT.head in each for each in requests]
        if judged.count(True) == 1 and not judged[-1]:
            with own_server.client() as client:
                client.hset(account_keys("main", "ada").approval(handle), "status", status)
        return data

    fault_proxy.rewrite_request = answer_after_admission
    async with retried(rig, asked_for) as stream:
        message = await stream.message()
    assert message is not None
    refusal = message["result"].get("_meta", {}).get("mcp-policy-sidecar/refusal", {})
    assert (refusal.get("code"), len(sent(rig))) == (code, 1 if code is None else 0)


@pytest.mark.parametrize("where", ["client", "page"])
async def test_in_2026_07_28_a_declined_page_refuses_the_call(rig: Rig, where: str):
    asked_for = await ask(rig, capabilities=URL)
    if where == "client":
        reply = await ask(rig, capabilities=URL, params=answer(state_of(asked_for), "decline"))
        assert reply.code == "confirmation_declined"
    else:
        async with retried(rig, asked_for) as stream:
            await visit(rig, question_of(asked_for)["url"], accepts=False)
            message = await stream.message()
            assert message is not None
            assert message["result"]["_meta"]["mcp-policy-sidecar/refusal"]["code"] == "confirmation_declined"
    assert sent(rig) == []


async def test_in_2026_07_28_a_client_that_disconnects_sends_nothing(rig: Rig):
    asked_for = await ask(rig, capabilities=URL)
    async with retried(rig, asked_for):
        pass
    await until(lambda: len(rig.sidecar.pipeline.confirmations.waiting) == 0)
    await visit(rig, question_of(asked_for)["url"])
    line = await rig.line(code="client_gone")
    assert line["tool"] == TOOL
    assert sent(rig) == []
    assert (await call(rig, MODERN)).code is None, "the next identical call has the approval"


async def test_a_client_that_cannot_open_pages_may_have_an_argument_instead(launch: Launch):
    rig = await started(launch, {**PAGE, "or": "argument", "argument": "sure", "inject": True})
    session = await session_of(rig, FORM)
    for revision, own in ((MODERN, None), (LEGACY, session)):
        assert page_of(await call(rig, revision, own))
        assert (await call(rig, revision, own, sure=True)).code is None
    async with asked(rig, session=await session_of(rig, URL), sure=True) as waiting:
        assert waiting.question["params"]["mode"] == "url", "an argument of a model is no substitute for a person"
    assert len(sent(rig)) == 2


async def test_the_handle_of_a_page_is_useless_in_another_call(rig: Rig):
    asked_for = await ask(rig, capabilities=URL)
    await visit(rig, question_of(asked_for)["url"])
    other = await ask(rig, {"contact_ids": ["c"]}, capabilities=URL, params=answer(state_of(asked_for)))
    assert question_of(other)["url"] != question_of(asked_for)["url"]
    assert sent(rig) == []
    with rig.redis() as store:
        assert (
            store.hget(account_keys("main", "ada").approval(state_of(asked_for).partition("/")[2]), "status")
            == "accepted"
        )
