"""A call that waits for its account holder, and the page on which that one answers, in one sidecar."""

from __future__ import annotations

import pytest

from tests.account_page.conftest import Launch
from tests.account_page.stage import Stage
from tests.proxy.confirming.support import ARGUMENTS, TOOL, confirmed_policy
from tests.proxy.confirming.test_session_questions import sent
from tests.support.backend import Backend
from tests.support.rig import LEGACY, REFUSAL, Json

PAGE: Json = {"by": "page", "message": "Reveal {contact_ids}?", "title": "Reveal contacts"}


@pytest.fixture
async def stage(launch: Launch) -> Stage:
    return await launch(policy=confirmed_policy(PAGE), scripted=Backend(sessions=True))


async def answer(stage: Stage, address: str, word: str) -> None:
    """Follow the address that a client shows, and answer there."""
    browser = await stage.logged_in()
    page = await browser.get(address.removeprefix(stage.base))
    assert "Reveal contacts" in page.text
    assert "2 contact credits" in page.text
    await browser.submit(page, address.rpartition("/account")[2], ("answer", word))


async def test_the_refusal_leads_to_the_page_and_the_next_identical_call_runs(stage: Stage):
    refused = await stage.call(TOOL, ARGUMENTS)
    assert refused.code == "confirmation_required"
    await answer(stage, refused.detail["confirm"]["page"], "accept")
    assert (await stage.call(TOOL, ARGUMENTS)).code is None
    assert (await stage.call(TOOL, ARGUMENTS)).code == "confirmation_required"
    assert len(sent(stage.rig)) == 1


@pytest.mark.parametrize(("word", "code"), [("accept", None), ("decline", "confirmation_declined")])
async def test_a_call_that_waits_goes_on_when_the_page_is_answered(stage: Stage, word: str, code: str | None):
    token = stage.token()
    opened = await stage.rig.initialize(token=token, capabilities={"elicitation": {"url": {}}})
    session = opened.headers["Mcp-Session-Id"]
    async with stage.rig.stream(TOOL, ARGUMENTS, token=token, revision=LEGACY, session=session) as stream:
        question = await stream.message()
        assert question is not None
        await answer(stage, question["params"]["url"], word)
        completed, last = await stream.message(), await stream.message()
        assert completed is not None
        assert completed["method"] == "notifications/elicitation/complete"
        assert last is not None
        assert (last["result"].get("_meta") or {}).get(REFUSAL, {}).get("code") == code
    assert len(sent(stage.rig)) == (code is None)
