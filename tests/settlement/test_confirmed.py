"""Settlement rows for calls that a person confirms: nothing is reserved, sent or charged before the acceptance."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.ledger.settlement_table import SettlementRow
from sidecar.store.commands.keys import account_keys
from tests.settlement.script import answered, rows
from tests.settlement.stage import Play, Stage
from tests.support import backend as scripted
from tests.support.processes import wait_for
from tests.support.rig import LEGACY, Reply

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

QUESTION = "mcp-policy-sidecar/confirmation"


async def asked(play: Play) -> str:
    """Make the call; return the state of the question."""
    result = (await play.call()).json["result"]
    assert QUESTION in result["inputRequests"], result
    return str(result["requestState"])


async def answer(play: Play, state: str, action: str = "accept") -> Reply:
    """Make the call again, with the person's answer."""
    return await play.call(requestState=state, inputResponses={QUESTION: {"action": action}})


async def logged(play: Play, *codes: str) -> None:
    """Wait until the sidecar has logged so many calls of the account."""

    def found() -> bool:
        return len(codes_of(play)) >= len(codes)

    await wait_for(found)
    assert codes_of(play) == [*codes]


def codes_of(play: Play) -> list[str]:
    lines: list[dict[str, Any]] = play.sidecar.events("call")
    return [line["code"] for line in lines if line["account"] == play.ledger.account and line["tool"] == play.tool]


@rows("confirmation_asked")
async def test_a_question_costs_nothing(stage: Stage, ending: SettlementRow):
    async with stage.plays(ending, kind="asked") as plays:
        for play in plays:
            await asked(play)
            await play.resolved()
            await logged(play, "confirmation_required")


@rows(("confirmation_declined", "decline", "decline"), ("confirmation_declined", "cancel", "cancel"))
async def test_a_declined_call_costs_nothing(stage: Stage, ending: SettlementRow, way: str):
    async with stage.plays(ending, kind="asked") as plays:
        for play in plays:
            state = await asked(play)
            assert (await answer(play, state, way)).code == "confirmation_declined"
            assert (await answer(play, state)).code == "confirmation_declined"
            await play.resolved()
            await logged(play, "confirmation_required", "confirmation_declined", "confirmation_declined")


@rows("confirmation_unavailable")
async def test_a_call_of_a_client_that_cannot_ask_costs_nothing(stage: Stage, ending: SettlementRow):
    async with stage.plays(ending, kind="asked") as plays:
        for play in plays:
            assert (await play.call(revision=LEGACY)).code == "confirmation_unavailable"
            await play.resolved()
            await logged(play, "confirmation_unavailable")


@rows("confirmation_expired")
async def test_a_late_acceptance_costs_nothing(stage: Stage, ending: SettlementRow):
    async with stage.plays(ending, kind="asked") as plays:
        for play in plays:
            state = await asked(play)
            key = account_keys("main", play.ledger.account).approval(state.rpartition("/")[2])
            with stage.server.client() as client:
                client.hset(key, "expires", 1)
            assert (await answer(play, state)).code == "confirmation_expired"
            await play.resolved()
            await logged(play, "confirmation_required", "confirmation_expired")


@rows("confirmation_accepted")
async def test_an_accepted_call_costs_its_true_price_once(stage: Stage, ending: SettlementRow):
    async with stage.plays(ending, kind="asked") as plays:
        for play in plays:
            play.behaves(answered)
            state = await asked(play)
            assert (await answer(play, state)).code is None
            assert (await answer(play, state)).code == "confirmation_expired"
            await play.resolved()
            await logged(play, "confirmation_required", "ok", "confirmation_expired")


@rows("confirmation_carried")
async def test_a_backend_that_asks_for_input_costs_nothing(stage: Stage, ending: SettlementRow):
    async with stage.plays(ending, kind="asked") as plays:
        for play in plays:
            play.behaves(scripted.input_required())
            reply = await answer(play, await asked(play))
            assert reply.json["result"]["requestState"] != "opaque"
            await play.resolved()
            await logged(play, "confirmation_required", "input_required")
