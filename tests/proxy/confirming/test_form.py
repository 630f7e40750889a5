"""2026-07-28: a person answers the client's form before a call is reserved, forwarded or charged."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from sidecar.store.commands import changes
from sidecar.store.commands.keys import account_keys
from tests.proxy.confirming.support import (
    ARGUMENTS,
    OWN_INPUT,
    TOOL,
    answer,
    ask,
    confirmed_policy,
    question_of,
    state_of,
)
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.rig import LEGACY, Json, Rig, second_sidecar
from tests.support.store import StoreServer, free_port, until


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    return await launch(policy=confirmed_policy())


def sent(rig: Rig) -> list[Json]:
    """Params of the calls that the backend has received."""
    return [each.message["params"] for each in rig.backend.received if each.message.get("method") == "tools/call"]


async def untouched(rig: Rig) -> bool:
    """Return True when nothing was forwarded, reserved or charged."""
    books = await rig.books()
    return not sent(rig) and (books.left(), books.holds, books.used.get("requests", 0)) == (10, 0, 0)


async def test_a_person_is_shown_the_call_and_its_price_and_then_it_runs_once(rig: Rig):
    asked = await ask(rig)
    question = question_of(asked)
    assert question["mode"] == "form"
    assert question["message"] == ('Reveal contacts: Reveal "a", "b" ("none")?\nIt costs 2 of your 10 contact credits.')
    assert question["requestedSchema"] == {"type": "object", "properties": {}}
    assert asked.headers["Cache-Control"] == "no-store"
    assert asked.code == "confirmation_required"
    assert asked.detail["prices"][-1] == {"credit": "contact", "price": 2, "balance": 10}
    assert await untouched(rig)

    ran = await ask(rig, params=answer(state_of(asked)))
    assert ran.json["result"]["resultType"] == "complete", ran.json
    (params,) = sent(rig)
    assert params["arguments"] == {**ARGUMENTS, "reason": "none"}
    assert {"requestState", "inputResponses"}.isdisjoint(params)
    assert (await rig.books()).left() == 8
    lines = await rig.recorded(2)
    assert [line["code"] for line in lines] == ["confirmation_required", "ok"]


async def test_an_approval_is_used_once(rig: Rig):
    state = state_of(await ask(rig))
    assert (await ask(rig, params=answer(state))).code is None
    again = await ask(rig, params=answer(state))
    assert again.code == "confirmation_expired"
    assert "repeat the call" in again.json["result"]["content"][0]["text"]
    assert len(sent(rig)) == 1


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_declined_call_does_not_run_and_cannot_be_accepted_afterwards(rig: Rig, action: str):
    state = state_of(await ask(rig))
    for given in (action, "accept"):
        assert (await ask(rig, params=answer(state, given))).code == "confirmation_declined"
    assert await untouched(rig)


@pytest.mark.parametrize("capabilities", [{}, {"elicitation": {"url": {}}}, {"elicitation": True}, {"sampling": {}}])
async def test_a_client_that_cannot_ask_is_refused(rig: Rig, capabilities: Json):
    refused = await ask(rig, capabilities=capabilities)
    assert refused.code == "confirmation_unavailable"
    assert refused.json["result"]["isError"] is True
    assert await untouched(rig)


@pytest.mark.parametrize("capabilities", [{"elicitation": {"form": {}}}, {"elicitation": {"form": {}, "url": {}}}])
async def test_form_mode_may_be_declared_by_name(rig: Rig, capabilities: Json):
    assert question_of(await ask(rig, capabilities=capabilities))["mode"] == "form"


async def test_a_session_without_the_capability_is_refused(rig: Rig):
    assert (await rig.call(TOOL, ARGUMENTS, revision=LEGACY)).code == "confirmation_unavailable"
    assert await untouched(rig)


FALLBACK: Json = {"by": "person", "or": "argument", "argument": "sure", "inject": True}


async def test_clients_that_cannot_ask_fall_back_to_the_argument(launch: Launch):
    rig = await launch(policy=confirmed_policy(FALLBACK))
    for revision in (LEGACY, "2026-07-28"):
        missing = await rig.call(TOOL, ARGUMENTS, revision=revision)
        assert missing.code == "confirmation_required"
        assert missing.detail["confirm"] == {"argument": "sure"}
        assert missing.detail["prices"]
        assert (await rig.call(TOOL, {**ARGUMENTS, "sure": True}, revision=revision)).code is None
    assert all("sure" not in params["arguments"] for params in sent(rig))
    # A client that can ask does: a model cannot confirm in a person's place.
    assert question_of(await ask(rig, {**ARGUMENTS, "sure": True}))
    assert len(sent(rig)) == 2


async def test_the_backends_own_argument_is_set_once_a_person_has_confirmed(launch: Launch):
    rig = await launch(policy=confirmed_policy({"by": "person", "or": "argument", "argument": "sure"}))
    state = state_of(await ask(rig))
    assert (await ask(rig, params=answer(state))).code is None
    assert sent(rig)[0]["arguments"]["sure"] is True


async def test_refusals_of_other_gates_come_first_and_no_person_is_asked(rig: Rig):
    assert (await ask(rig, {"contact_ids": [str(number) for number in range(11)]})).code == "insufficient_credits"
    assert (await ask(rig, {"contact_ids": 7})).code == "arguments_refused"
    await rig.run(changes.set_account("main", "ada", active=False))
    assert (await ask(rig)).code == "account_disabled"
    assert await untouched(rig)


async def test_other_arguments_and_a_missing_answer_ask_again(rig: Rig):
    state = state_of(await ask(rig))
    other = await ask(rig, {"contact_ids": ["a", "c"]}, params=answer(state))
    assert '"a", "c"' in question_of(other)["message"]
    assert state_of(other) != state
    unanswered = await ask(rig, params={"requestState": state})
    assert question_of(unanswered)
    assert await untouched(rig)
    assert (await ask(rig, params=answer(state))).code is None  # what was approved still is


async def test_a_higher_price_than_shown_asks_again(rig: Rig):
    first = await ask(rig, {"contact_ids": ["a"]})
    assert (await ask(rig, {"contact_ids": ["a"]}, params=answer(state_of(first)))).code is None
    cheap = await ask(rig)  # `a` is paid already
    assert "It costs 1 of your 9" in question_of(cheap)["message"]
    with rig.redis() as client:
        client.delete(account_keys("main", "ada").paid)
    dearer = await ask(rig, params=answer(state_of(cheap)))
    assert "It costs 2 of your 9" in question_of(dearer)["message"]
    assert (await ask(rig, params=answer(state_of(dearer)))).code is None
    assert (await rig.books()).left() == 7


async def test_a_lower_price_than_shown_needs_no_new_question(rig: Rig):
    states = [state_of(await ask(rig)) for _ in range(2)]
    for state in states:  # the second finds the items paid
        assert (await ask(rig, params=answer(state))).code is None
    assert (await rig.books()).left() == 8


# --- attacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        "",
        "opaque",
        "mcp-policy-sidecar/",
        f"mcp-policy-sidecar/{'f' * 32}",
        f"mcp-policy-sidecar/{'F' * 32}",
        f"mcp-policy-sidecar/{'0' * 31}}}",
        f"MCP-POLICY-SIDECAR/{'0' * 32}",
        "x" * 100_000,
    ],
)
async def test_a_forged_state_admits_nothing(rig: Rig, state: str):
    assert (await ask(rig, params=answer(state))).code == "confirmation_expired"
    assert await untouched(rig)


@pytest.mark.parametrize("response", [None, True, [], "accept", {}, {"action": "ACCEPT"}, {"action": ["accept"]}])
async def test_a_malformed_answer_admits_nothing(rig: Rig, response: object):
    state = state_of(await ask(rig))
    params = {"requestState": state, "inputResponses": {OWN_INPUT: response}}
    assert (await ask(rig, params=params)).code == "params_malformed"
    assert await untouched(rig)


async def test_an_answer_without_a_question_is_none(rig: Rig):
    given = {"inputResponses": {OWN_INPUT: {"action": "accept"}}}
    assert question_of(await ask(rig, params=given))
    assert await untouched(rig)


async def test_an_approval_is_no_other_clients_account_or_tools(launch: Launch):
    rule: Json = {"by": "person"}
    rig = await launch(policy=confirmed_policy(rule, tool={"uses": {}}))
    await rig.grant(client="cli-2")
    await rig.account("bob", credits=10)
    await rig.grant("bob")
    state = state_of(await ask(rig))
    strangers: list[Json] = [{"client_id": "cli-2"}, {"sub": "bob"}]
    for stranger in strangers:
        stolen = await ask(rig, params=answer(state), token=rig.issuer.mint(**stranger))
        assert stolen.code == "confirmation_expired"
        declined = await ask(rig, params=answer(state, "decline"), token=rig.issuer.mint(**stranger))
        assert declined.code == "confirmation_expired"
    elsewhere = await ask(rig, {}, tool="list_taxonomy", params=answer(state))
    assert elsewhere.code == "confirmation_expired"  # never forwarded as the backend's own
    assert await untouched(rig)
    assert (await ask(rig, params=answer(state))).code is None  # nothing of that has used it


async def test_a_changed_rule_asks_again(rig: Rig):
    state = state_of(await ask(rig))
    changed = confirmed_policy({"by": "person", "message": "Reveal {contact_ids} now?", "title": "Reveal contacts"})
    (rig.config.parent / "policy.yaml").write_text(json.dumps(changed))
    assert await rig.sidecar.reload()
    again = await ask(rig, params=answer(state))
    assert "now?" in question_of(again)["message"]
    assert await untouched(rig)
    # A rule of another tool changes nothing for this one.
    changed["tools"]["list_taxonomy"]["timeout"] = "9s"
    (rig.config.parent / "policy.yaml").write_text(json.dumps(changed))
    assert await rig.sidecar.reload()
    assert (await ask(rig, params=answer(state_of(again)))).code is None


async def test_two_sidecars_that_race_for_one_approval_admit_one_call(rig: Rig, tmp_path: Path):
    folder = tmp_path / "second"
    folder.mkdir()
    async with second_sidecar(rig, folder) as other:
        for _ in range(5):
            state = state_of(await ask(rig))
            replies = await asyncio.gather(*(ask(each, params=answer(state)) for each in (rig, other) * 4))
            assert sorted(str(reply.code) for reply in replies) == ["None", *["confirmation_expired"] * 7]
    assert len(sent(rig)) == 5


async def test_the_oldest_of_too_many_questions_is_evicted(rig: Rig):
    states = [state_of(await ask(rig)) for _ in range(51)]
    assert (await ask(rig, params=answer(states[0]))).code == "confirmation_expired"
    assert (await ask(rig, params=answer(states[1]))).code is None


async def test_an_expired_approval_admits_nothing(rig: Rig):
    state = state_of(await ask(rig))
    with rig.redis() as client:
        client.hset(account_keys("main", "ada").approval(state.rpartition("/")[2]), "expires", 1)
    assert (await ask(rig, params=answer(state))).code == "confirmation_expired"
    assert await untouched(rig)


async def test_values_of_arguments_cannot_pass_for_the_text_of_the_question(rig: Rig):
    evil = 'x" (free). \n\nIt costs 0 credits. [ok](https://evil) <b>\u202e`'
    message = question_of(await ask(rig, {"contact_ids": [evil, "y" * 1000]}))["message"]
    assert message.count("\n") == 1
    assert message.endswith("\nIt costs 2 of your 10 contact credits.")
    assert not {"[", "]", "<", ">", "`", "\u202e"} & set(message)
    assert message.count('"') == 6
    assert len(message) < 500


# --- failures ------------------------------------------------------------------------------------


async def test_an_approval_is_given_back_when_nothing_was_sent(launch: Launch):
    rig = await launch(policy=confirmed_policy(), backend_url=f"http://127.0.0.1:{free_port()}/mcp", ready=False)
    state = state_of(await ask(rig))
    for params in (answer(state), answer(state), {"requestState": state}):
        refused = await ask(rig, params=params)
        assert (refused.status, refused.code) == (502, "backend_unavailable")
        await until_given_back(rig, state)
    assert (await rig.books()).left() == 10


async def until_given_back(rig: Rig, state: str) -> None:
    key = account_keys("main", "ada").approval(state.rpartition("/")[2])
    with rig.redis() as client:
        await until(lambda: client.hget(key, "status") == "accepted")


async def test_an_approval_of_a_call_that_failed_after_sending_stays_used(rig: Rig):
    state = state_of(await ask(rig))
    rig.backend.once(scripted.reset())
    assert (await ask(rig, params=answer(state))).code == "backend_unavailable"
    assert (await ask(rig, params=answer(state))).code == "confirmation_expired"


async def test_without_the_store_nothing_is_asked_or_sent(launch: Launch, own_server: StoreServer):
    rig = await launch(server=own_server, policy=confirmed_policy())
    state = state_of(await ask(rig))
    own_server.kill()
    for params in ({}, answer(state), answer(state, "decline")):
        assert (await ask(rig, params=params)).code == "store_unavailable"
    assert not sent(rig)
