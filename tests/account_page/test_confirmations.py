"""Confirmations on the page: only the person that a call asks may see and answer one, once."""

from __future__ import annotations

import secrets

import pytest

from sidecar.approval import ApprovalStatus, ConfirmBy
from sidecar.ledger.approval_records import Approval
from sidecar.model import AmountKind, Price
from sidecar.store.approval_store import ApprovalStore
from tests.account_page.stage import Stage, assert_safe

MESSAGE = "Reveal 2 contacts: <b>a</b>, b"


async def asked(
    stage: Stage, *, subject: str = "ada", account: str = "ada", by: ConfirmBy = ConfirmBy.PAGE
) -> Approval:
    """A question to a person about a call of cli-1."""
    return await ApprovalStore(stage.rig.sidecar.store).ask(
        Approval(
            handle=secrets.token_hex(16),
            issuer_id="main",
            subject=subject,
            account=account,
            client_id="cli-1",
            tool="reveal_contacts",
            title="Reveal contacts",
            message=MESSAGE,
            prices=(Price(AmountKind.CREDIT, "contact", 2, 10),),
            arguments=secrets.token_hex(16),
            rule="rule",
            by=by,
        )
    )


async def state(stage: Stage, approval: Approval) -> ApprovalStatus | None:
    found = await ApprovalStore(stage.rig.sidecar.store).find("main", approval.account, approval.handle)
    return None if found is None else found.status


@pytest.mark.parametrize(
    ("answer", "status", "title"),
    [("accept", ApprovalStatus.ACCEPTED, "Approved"), ("decline", ApprovalStatus.DECLINED, "Declined")],
)
async def test_a_person_answers_a_confirmation(stage: Stage, answer: str, status: ApprovalStatus, title: str):
    approval = await asked(stage)
    browser = await stage.logged_in()
    listed = await browser.get("/account/confirm")
    assert_safe(listed)
    assert "Confirmations (1)" in listed.text
    page = await browser.click(listed, "Reveal contacts")
    assert_safe(page)
    for words in ("Approve “Reveal contacts”?", MESSAGE, "cli-1", "2 contact credits (you have 10)", "Ends in"):
        assert words in page.text
    assert await state(stage, approval) is ApprovalStatus.PENDING, "looking changes nothing"
    done = await browser.submit(page, f"/confirm/{approval.handle}", ("answer", answer))
    assert title in done.text
    assert await state(stage, approval) is status
    again = await browser.submit(page, f"/confirm/{approval.handle}", ("answer", "accept"))  # the back button
    assert title in again.text, "the first answer counts"
    assert await state(stage, approval) is status
    assert "Nothing waits for you." in (await browser.get("/account/confirm")).text


async def test_a_link_leads_there_after_the_login(stage: Stage):
    approval = await asked(stage)
    browser = stage.browser()
    first = await browser.get(f"/account/confirm/{approval.handle}")
    assert MESSAGE not in first.html
    page = await browser.click(first, "Log in at 127.0.0.1")
    assert page.url.endswith(f"/account/confirm/{approval.handle}")
    assert MESSAGE in page.text


@pytest.mark.parametrize("account", ["ada", "bob"])
async def test_a_confirmation_of_another_person_shows_nothing(stage: Stage, account: str):
    approval = await asked(stage, subject="bob", account=account)
    browser = await stage.logged_in()
    page = await browser.get(f"/account/confirm/{approval.handle}")
    assert (page.status, "Nothing to confirm" in page.text) == (404, True)
    for words in ("Reveal", "cli-1", "contact credits"):
        assert words not in page.text
    token = page.form("/logout").fields["token"]
    await browser.post(f"/account/confirm/{approval.handle}", {"token": token, "answer": "accept"})
    assert await state(stage, approval) is ApprovalStatus.PENDING


async def test_a_confirmation_in_the_clients_own_form_is_not_answered_here(stage: Stage):
    approval = await asked(stage, by=ConfirmBy.PERSON)
    browser = await stage.logged_in()
    page = await browser.get(f"/account/confirm/{approval.handle}")
    assert page.status == 404
    token = page.form("/logout").fields["token"]
    await browser.post(f"/account/confirm/{approval.handle}", {"token": token, "answer": "accept"})
    assert await state(stage, approval) is ApprovalStatus.PENDING


@pytest.mark.parametrize("handle", ["0" * 32, "x", "%00", "0" * 10_000])
async def test_an_unknown_confirmation_is_nothing(stage: Stage, handle: str):
    browser = await stage.logged_in()
    page = await browser.get(f"/account/confirm/{handle}")
    assert page.status in (400, 404)


async def test_an_answer_that_no_button_gives_changes_nothing(stage: Stage):
    approval = await asked(stage)
    browser = await stage.logged_in()
    page = await browser.get(f"/account/confirm/{approval.handle}")
    form = page.form(f"/confirm/{approval.handle}")
    for answer in ({}, {"answer": "yes"}, {"answer": "ACCEPT"}):
        await browser.post(form.action, {**form.fields, **answer})
    assert await state(stage, approval) is ApprovalStatus.PENDING
