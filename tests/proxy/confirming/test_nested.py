"""A backend's own request for input and the sidecar's question: never mixed up, and the person is asked once."""

from __future__ import annotations

import pytest

from tests.proxy.confirming.support import OWN_INPUT, answer, ask, confirmed_policy, question_of, state_of
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.rig import Json, Reply, Rig

WISH: Json = {"which": {"method": "elicitation/create", "params": {"message": "Which?", "requestedSchema": {}}}}


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    return await launch(policy=confirmed_policy())


def sent(rig: Rig) -> list[Json]:
    return [each.message["params"] for each in rig.backend.received if each.message.get("method") == "tools/call"]


def wish(state: str | None = "opaque", **members: object) -> scripted.Behaviour:
    """The backend asks for input."""
    result: Json = {"resultType": "input_required", "inputRequests": WISH, **members}
    return scripted.result(result if state is None else {**result, "requestState": state})


def streamed(message: Json) -> scripted.Behaviour:
    async def behave(turn: scripted.Turn) -> None:
        await turn.open_stream()
        await turn.event(turn.response(message))
        await turn.end_stream()

    return behave


async def approved(rig: Rig, *behaviours: scripted.Behaviour) -> Reply:
    """Call with a person's approval; the backend answers with these."""
    state = state_of(await ask(rig))
    for each in behaviours:
        rig.backend.once(each)
    return await ask(rig, params=answer(state))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("state", ["opaque", None, "", "mcp-policy-sidecar/" + "0" * 32])
async def test_the_backends_state_is_kept_and_given_back_to_it_alone(rig: Rig, state: str | None, stream: bool):
    result: Json = {"resultType": "input_required", "inputRequests": WISH}
    if state is not None:
        result["requestState"] = state
    first = await approved(rig, streamed({"result": result}) if stream else scripted.result(result))
    asked = (first.events[-1] if stream else first.json)["result"]
    assert asked["inputRequests"] == WISH  # as it was; the sidecar asks nothing more
    assert asked["requestState"] != state
    assert (await rig.books()).left() == 10  # the retry is priced again
    retry = {"requestState": asked["requestState"], "inputResponses": {"which": {"action": "accept", "content": {}}}}
    ran = await ask(rig, params=retry)
    assert ran.json["result"]["resultType"] == "complete", ran.json
    assert sent(rig)[-1].get("requestState") == state
    assert sent(rig)[-1]["inputResponses"] == retry["inputResponses"]
    assert (await rig.books()).left() == 8
    assert (await ask(rig, params=retry)).code == "confirmation_expired"
    assert len(sent(rig)) == 2


async def test_several_rounds_ask_a_person_once(rig: Rig):
    reply = await approved(rig, wish("one"))
    for before, after in (("one", "two"), ("two", None)):
        rig.backend.once(wish(after) if after else scripted.default())
        params = {"requestState": state_of(reply), "inputResponses": {"which": {"action": "accept"}}}
        reply = await ask(rig, params=params)
        assert sent(rig)[-1]["requestState"] == before
    assert reply.json["result"]["resultType"] == "complete"


async def test_the_next_round_is_of_the_same_call(rig: Rig):
    asked = await approved(rig, wish())
    params = {"requestState": state_of(asked), "inputResponses": {"which": {"action": "accept"}}}
    other = await ask(rig, {"contact_ids": ["c", "d"]}, params=params)
    assert '"c", "d"' in question_of(other)["message"]
    assert len(sent(rig)) == 1


async def test_a_fresh_identical_call_does_not_use_the_approval_of_a_next_round(rig: Rig):
    await approved(rig, wish())
    assert question_of(await ask(rig))
    assert len(sent(rig)) == 1


async def test_the_sidecars_answer_is_not_forwarded_with_those_of_the_backend(rig: Rig):
    asked = await approved(rig, wish())
    responses = {OWN_INPUT: {"action": "accept"}, "which": {"action": "accept"}}
    await ask(rig, params={"requestState": state_of(asked), "inputResponses": responses})
    assert sent(rig)[-1]["inputResponses"] == {"which": {"action": "accept"}}


@pytest.mark.parametrize("state", [7, "x" * 70_000])
async def test_a_state_that_cannot_be_kept_ends_the_call(rig: Rig, state: object):
    result: Json = {"resultType": "input_required", "requestState": state}
    ended = await approved(rig, scripted.result(result))
    assert (ended.status, ended.code) == (502, "backend_unavailable")
    assert (await rig.books()).holds == 0


async def test_tools_without_a_person_keep_the_backends_state(rig: Rig):
    rig.backend.once(wish("raw"))
    first = await rig.call("list_taxonomy")
    assert first.json["result"]["requestState"] == "raw"
    retry = {"name": "list_taxonomy", "requestState": "raw", "inputResponses": {"which": {"action": "accept"}}}
    assert (await rig.post("tools/call", retry)).code is None
    assert sent(rig)[-1]["requestState"] == "raw"
