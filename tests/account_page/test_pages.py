"""Pages of a holder: what they show, and what they change."""

from __future__ import annotations

from tests.account_page.stage import Stage, assert_safe
from tests.proxy.support import contacts


async def test_a_person_logs_in_and_sees_the_account(stage: Stage):
    browser = stage.browser()
    welcome = await browser.get("/account")
    assert_safe(welcome)
    assert welcome.status == 200
    assert not welcome.forms, "the login is a link, so that `form-action` cannot stop its redirect"
    page = await browser.click(welcome, "Log in at 127.0.0.1")
    assert_safe(page)
    assert page.url.endswith("/account")
    for words in ("Plan growth", "Status Active", "requests per day", "0 of 1,000 used", "10 left", "One contact."):
        assert words in page.text
    session = next(each for each in browser.set_cookies if each.startswith("__Host-mcp-account="))
    assert session.partition("; ")[2] == "Max-Age=1800; Path=/; Secure; HttpOnly; SameSite=Lax"


async def test_clients_are_listed_with_their_use_and_revoked(stage: Stage):
    await stage.rig.grant(scopes=["stores:read", "contacts:reveal"])
    assert (await stage.call("reveal_contacts", contacts("a", "b"))).status == 200
    browser = await stage.logged_in()
    page = await browser.get("/account/clients")
    assert_safe(page)
    for words in ("cli-1", "Read stores.", "Reveal contacts.", "2 contact credits"):
        assert words in page.text
    after = await browser.submit(page, "/account/clients")
    assert after.url.endswith("/account/clients?done=revoked")
    assert "The client is revoked." in after.text
    assert "No client is connected." in after.text
    refused = await stage.call("list_taxonomy")
    assert refused.status == 401, refused.body
    assert refused.headers["WWW-Authenticate"].partition(",")[0] == 'Bearer error="invalid_token"'
    journal = await browser.get("/account/journal?kind=changes")
    assert "Client revoked by a person of this account" in journal.text


async def test_the_journal_is_filtered_and_saved(stage: Stage):
    await stage.call("reveal_contacts", contacts("a"))
    await stage.call("list_taxonomy")
    browser = await stage.logged_in()
    page = await browser.get("/account/journal")
    assert_safe(page)
    assert page.text.count("Call") >= 2
    assert "1 contact credit" in page.text
    assert "No entry matches." in (await browser.get("/account/journal?client=unknown-client")).text
    changes = await browser.get("/account/journal?kind=changes")
    assert "Balance set" in changes.text
    assert "1 contact credit" not in changes.text
    saved = await browser.click(page, "Download as CSV")
    assert saved.headers["Content-Type"] == "text/csv; charset=utf-8"
    lines = saved.html.splitlines()
    assert lines[0] == "time,event,client,tool,credits,quotas,by"
    assert any(",settled,cli-1," in line and "contact=1" in line for line in lines)


async def test_connecting_a_client_is_explained(stage: Stage):
    browser = await stage.logged_in()
    page = await browser.get("/account/connect")
    assert_safe(page)
    assert f"claude mcp add --transport http 127-0-0-1 {stage.rig.url}" in page.text
    assert page.links["Add to VS Code"].startswith("vscode:mcp/install?%7B%22name%22")
    assert page.links["Add to Cursor"].startswith(
        "cursor://anysphere.cursor-deeplink/mcp/install?name=127-0-0-1&config="
    )


async def test_logging_out_ends_the_session(stage: Stage):
    browser = await stage.logged_in()
    kept = dict(browser.cookies[stage.base])
    page = await browser.submit(await browser.get("/account"), "/logout")
    assert "You are logged out" in page.text
    assert "Log in at" in (await browser.get("/account")).text
    browser.cookies[stage.base] = kept  # as the back button of a browser that kept its cookie
    ended = await browser.get("/account/clients")
    assert (ended.status, "Your session has ended" in ended.text) == (403, True)
