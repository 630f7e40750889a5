"""Responses to the sidecar's own questions are taken from their caller alone, and no backend sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sidecar.approval import ConfirmBy
from sidecar.protocol.elicitation.elicitation import QUESTION_PREFIX
from sidecar.store.commands import changes
from sidecar.store.commands.keys import account_keys
from tests.proxy.confirming.questions import answer_to, asked, post, state
from tests.proxy.support import Launch
from tests.support.backend import Backend
from tests.support.rig import MODERN, Json, Rig, second_sidecar
from tests.support.store import until


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    rig = await launch(scripted=Backend(sessions=True))
    for account, client in (("ada", "cli-2"), ("bob", "cli-1")):
        await rig.account(account)
        await rig.grant(account, client)
    return rig


def responses(rig: Rig) -> list[Json]:
    """Responses that the backend has got."""
    return [each.message for each in rig.backend.received if each.body and "method" not in each.message]


async def test_an_answer_is_written_to_its_approval_and_not_forwarded(rig: Rig):
    session = await rig.session()
    question = await asked(rig)
    reply = await post(rig, answer_to(question), session=session)
    assert (reply.status, reply.body) == (202, b"")
    assert await state(rig, question) == "accepted"
    assert responses(rig) == []
    line = await rig.line(method="response")
    assert (line["code"], line["http_status"], line["backend_ms"]) == ("ok", 202, None)


@pytest.mark.parametrize(
    "outcome",
    [
        {"result": {"action": "decline"}},
        {"result": {"action": "cancel"}},
        {"result": {"action": "accept", "content": "yes"}},
        {"result": {"action": "Accept"}},
        {"result": {}},
        {"error": {"code": -32601, "message": "Method not found"}},
    ],
)
async def test_whatever_is_no_acceptance_declines(rig: Rig, outcome: Any):
    session = await rig.session()
    question = await asked(rig)
    assert (await post(rig, answer_to(question, **outcome), session=session)).status == 202
    assert await state(rig, question) == "declined"
    await post(rig, answer_to(question), session=session)
    assert await state(rig, question) == "declined", "the first answer counts"


STRANGERS: dict[str, Json] = {
    "account": {"subject": "bob", "account": "bob"},
    "client": {"client_id": "cli-2", "account": "ada"},
    "subject": {"subject": "eve", "account": "ada"},
}


@pytest.mark.parametrize("claims", STRANGERS.values(), ids=list(STRANGERS))
async def test_an_answer_of_another_caller_changes_nothing(launch: Launch, claims: Json):
    rig = await launch(scripted=Backend(sessions=True), issuer={"claims": {"account": "account"}})
    await rig.account("bob")
    for subject, account, client in (("bob", "bob", "cli-1"), ("ada", "ada", "cli-2"), ("eve", "ada", "cli-1")):
        await rig.run(changes.grant("main", account, subject, client, None))
    question = await asked(rig)
    token = rig.issuer.mint(**claims)
    session = await rig.session(token=token)
    assert (await post(rig, answer_to(question), session=session, token=token)).status == 202
    assert await state(rig, question) == "pending"
    assert responses(rig) == []


async def test_an_id_of_the_namespace_is_never_forwarded(rig: Rig):
    session = await rig.session()
    for end in ("", "x", "0" * 32):
        message = {"jsonrpc": "2.0", "id": f"{QUESTION_PREFIX}{end}", "result": {"action": "accept"}}
        assert (await post(rig, message, session=session)).status == 202
    message = {"jsonrpc": "2.0", "id": f"x{QUESTION_PREFIX}", "result": {"action": "accept"}}
    assert (await post(rig, message, session=session)).status == 202
    assert [each["id"] for each in responses(rig)] == [f"x{QUESTION_PREFIX}"], "this one is the backend's own"


async def test_a_page_is_answered_by_its_visitor_and_not_by_the_client(rig: Rig):
    session = await rig.session()
    question = await asked(rig, by=ConfirmBy.PAGE)
    await post(rig, answer_to(question), session=session)
    assert await state(rig, question) == "pending", "the client only opens the page"
    await post(rig, answer_to(question, result={"action": "decline"}), session=session)
    assert await state(rig, question) == "declined"


async def test_an_answer_passes_the_gates(rig: Rig):
    session = await rig.session()
    question = await asked(rig)
    assert (await post(rig, answer_to(question), session="unknown")).status == 404
    stateless = await post(rig, answer_to(question), session=None, revision=MODERN)
    assert (stateless.status, stateless.code) == (400, "message_malformed")
    await rig.revoke()
    assert (await post(rig, answer_to(question), session=session)).status == 401
    assert await state(rig, question) == "pending"


async def test_the_sidecar_that_waits_learns_of_an_answer_to_another_one(rig: Rig, tmp_path: Path):
    folder = tmp_path / "other"
    folder.mkdir()
    async with second_sidecar(rig, folder) as other:
        session, path = await rig.session(), other.sidecar.request_path
        await until(lambda: path.revocations.subscription_up)
        for outcome, failed in (({}, False), ({"error": {"code": -1, "message": "no"}}, True)):
            question = await asked(rig)
            with path.pipeline.confirmations.waiting.enter(
                account_keys("main", "ada").digest, question.handle, 1000
            ) as waiting:
                await post(rig, answer_to(question, **outcome), session=session)
                assert await waiting.woken(30)
                assert waiting.failed is failed
