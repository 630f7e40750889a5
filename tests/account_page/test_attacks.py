"""Attacks from other sites, other people and old tabs: none changes or shows an account."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from yarl import URL

from sidecar.store.commands import changes
from tests.account_page.browser import Browser, Page
from tests.account_page.conftest import Launch
from tests.account_page.stage import Stage, assert_safe
from tests.support.rig import Reply

SESSION = "__Host-mcp-account"


async def begun(browser: Browser) -> tuple[str, dict[str, str]]:
    """Begin a login; the URL at the issuer and its parameters."""
    page = await browser.get("/account/login", follow=False)
    assert page.status == 303, page.text
    url = page.headers["Location"]
    return url, {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def callback_of(stage: Stage, browser: Browser) -> dict[str, str]:
    """Log in at the issuer, without returning; the parameters of the callback."""
    url, _ = await begun(browser)
    page = await browser.get(url, follow=False)
    return {name: values[0] for name, values in parse_qs(urlsplit(page.headers["Location"]).query).items()}


async def returned(browser: Browser, parameters: dict[str, str]) -> Page:
    return await browser.get(f"/account/callback?{urlencode(parameters)}")


# --- login ---------------------------------------------------------------------------------------


async def test_the_request_has_pkce_state_and_nonce(stage: Stage):
    first, second = [(await begun(stage.browser()))[1] for _ in range(2)]
    assert first["redirect_uri"] == f"{stage.base}/account/callback"
    assert (first["response_type"], first["code_challenge_method"], first["scope"]) == ("code", "S256", "openid")
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 43
        assert first[name] != second[name]
    assert "code_verifier" not in first


Change = Callable[[dict[str, str]], dict[str, str]]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda given: {**given, "state": "A" * 43}, 400, "This login is over"),
        (lambda given: {**given, "state": ""}, 400, "This login is over"),
        (lambda given: {**given, "state": "%00" * 1000}, 400, "This login is over"),
        (lambda given: {name: each for name, each in given.items() if name != "state"}, 400, "This login is over"),
        (lambda given: {**given, "iss": "https://evil.example"}, 502, "The login could not be verified"),
        (lambda given: {name: each for name, each in given.items() if name != "iss"}, 502, "could not be verified"),
        (lambda given: {**given, "code": "forged"}, 400, "This login was used or has expired"),
        (lambda given: {**given, "code": ""}, 400, "This login was used or has expired"),
        (lambda given: {**given, "code": "x" * 5000}, 400, "This login was used or has expired"),
        (lambda given: {**given, "error": "access_denied"}, 403, "The login server has answered access_denied."),
        (lambda given: {**given, "error": "<script>"}, 403, "has declined the login"),
    ],
)
async def test_a_forged_callback_logs_nobody_in(stage: Stage, change: Change, status: int, words: str):
    browser = stage.browser()
    page = await returned(browser, change(await callback_of(stage, browser)))
    assert_safe(page)
    assert (page.status, words in page.text) == (status, True), page.text
    assert "<script" not in page.html
    assert browser.cookie(SESSION) is None
    assert "Log in at" in (await browser.get("/account")).text


async def test_a_callback_works_once(stage: Stage):
    browser = stage.browser()
    parameters = await callback_of(stage, browser)
    assert "Your account" in (await returned(browser, parameters)).text
    again = await returned(browser, parameters)  # the back button
    assert again.url.endswith("/account")
    other = stage.browser()
    other.cookies[stage.base] = {"__Host-mcp-login": browser.cookie("__Host-mcp-login") or ""}
    assert "This login is over" in (await returned(other, parameters)).text


async def test_a_callback_of_another_browser_logs_nobody_in(stage: Stage):
    """Else a victim could be logged in as the attacker, or the other way round."""
    attacker, victim = stage.browser(), stage.browser()
    parameters = await callback_of(stage, attacker)
    assert (await returned(victim, parameters)).status == 400
    await begun(victim)
    assert (await returned(victim, await callback_of(stage, attacker))).status == 400
    assert victim.cookie(SESSION) is None


async def test_swapped_states_do_not_mix_two_logins(stage: Stage):
    browser = stage.browser()
    one, two = await callback_of(stage, browser), await callback_of(stage, browser)
    page = await returned(browser, {**one, "state": two["state"]})
    assert page.status == 400  # the verifier of PKCE is that of the other login
    assert browser.cookie(SESSION) is None


async def test_two_tabs_log_in_at_one_time(stage: Stage):
    browser = stage.browser()
    one, two = await callback_of(stage, browser), await callback_of(stage, browser)
    for parameters in (one, two):
        assert "Your account" in (await returned(browser, parameters)).text


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example",
        "//evil.example",
        "../mcp",
        "confirm/../../x",
        "a" * 500,
        "login",
        "logout",
        "callback",
        "journal.csv",
    ],
)
async def test_a_login_returns_to_pages_of_the_account_only(stage: Stage, place: str):
    page = await stage.browser().get(f"/account/login?{urlencode({'to': place})}")
    assert page.url == f"{stage.base}/account"


async def test_a_login_returns_to_the_page_that_was_asked_for(stage: Stage):
    browser = stage.browser()
    asked = await browser.get("/account/clients")
    page = await browser.click(asked, "Log in at 127.0.0.1")
    assert page.url == f"{stage.base}/account/clients"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another-client"},
        {"aud": ["page", "another-client"]},
        {"azp": "another-client"},
        {"nonce": "another-login"},
        {"nonce": None},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"sub": "client:page"},
        {"sub": "page"},
        {"events": {}},
        {"token_use": "access"},
    ],
    ids=str,
)
async def test_a_wrong_id_token_logs_nobody_in(stage: Stage, claims: dict[str, Any]):
    stage.trial.person_claims = claims
    browser = stage.browser()
    page = await browser.get("/account/login")
    assert (page.status, "The login could not be verified" in page.text) == (502, True)
    assert browser.cookie(SESSION) is None
    [line] = [each for each in stage.rig.log if each["event"] == "account_page_login_failed"]
    assert line["fault"] == "token_invalid"
    assert line["problem"].startswith("the ID token: ")


async def test_an_id_token_with_an_unpublished_key_logs_nobody_in(stage: Stage):
    await stage.logged_in()
    published = list(stage.trial.keys)
    stage.trial.rotate()
    forged = stage.trial.keys[-1]
    forged.kid = forged.jwk["kid"] = published[0].kid
    stage.trial.keys = [forged]
    page = await stage.browser().get("/account/login")
    assert "The login could not be verified" in page.text


async def test_an_id_token_is_no_access_token(stage: Stage):
    browser = stage.browser()
    _, asked = await begun(browser)
    token = stage.trial.mint(audience="page", typ="JWT", nonce=asked["nonce"], client_id=None, scope=None)
    assert (await stage.rig.call("list_taxonomy", token=token)).status == 401


# --- sessions ------------------------------------------------------------------------------------


async def test_a_login_replaces_the_session_of_the_browser(stage: Stage):
    browser = await stage.logged_in()
    before = dict(browser.cookies[stage.base])
    await browser.get("/account/login")
    assert browser.cookie(SESSION) != before[SESSION]
    browser.cookies[stage.base] = before
    assert "Your session has ended" in (await browser.get("/account")).text


async def test_the_store_has_no_cookie_and_no_code(stage: Stage):
    browser = await stage.logged_in()
    secret = (browser.cookie(SESSION) or "").partition(".")[2]
    assert secret
    with stage.rig.redis() as client:
        for key in client.scan_iter("*"):
            assert secret not in str(key)
            assert secret not in str(client.dump(key))


async def test_all_sessions_of_a_person_end_together(stage: Stage):
    one, two, other = await stage.logged_in(), await stage.logged_in(), await stage.logged_in("bob")
    page = await one.get("/account")
    form = next(each for each in page.forms if "everywhere" in each.fields)
    assert "You are logged out" in (await one.post(form.action, form.fields)).text
    assert "Your session has ended" in (await two.get("/account")).text
    assert "Your account" in (await other.get("/account")).text


@pytest.mark.parametrize("value", ["", "x", "0" * 32 + "." + "A" * 43, "é", "0" * 32 + "." + "A" * 100_000])
async def test_a_forged_session_is_none(stage: Stage, value: str):
    browser = stage.browser()
    browser.cookies[stage.base] = {SESSION: value}
    page = await browser.get("/account/clients")
    assert "cli-1" not in page.text
    assert page.status in (200, 400, 403)


async def test_a_session_is_never_read_at_the_mcp_endpoint(stage: Stage):
    browser = await stage.logged_in()
    cookie = {"Cookie": f"{SESSION}={browser.cookie(SESSION)}"}
    message = stage.rig.message("tools/call", {"name": "list_taxonomy", "arguments": {}})
    headers = stage.rig.request_headers(message, "2026-07-28", None)
    assert (await stage.rig.send(message, {**headers, **cookie})).status == 401
    headers = stage.rig.request_headers(message, "2026-07-28", stage.token())
    assert (await stage.rig.send(message, {**headers, **cookie})).status == 200
    assert all(each.header("cookie") is None for each in stage.rig.backend.received)


# --- forms ---------------------------------------------------------------------------------------

Headers = dict[str, str | None]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "same-site"},
        {"Origin": "null", "Sec-Fetch-Site": None},
        {"Origin": None, "Sec-Fetch-Site": None},
        {"Origin": None, "Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
async def test_a_form_of_another_site_changes_nothing(stage: Stage, headers: Headers):
    browser = await stage.logged_in()
    form = (await browser.get("/account/clients")).form("/account/clients")
    page = await browser.post(form.action, form.fields, headers=headers)
    assert_safe(page)
    assert (page.status, "Nothing was changed." in page.text) == (403, True)
    assert (await stage.call("list_taxonomy")).code is None


async def test_a_form_with_its_own_origin_is_accepted(stage: Stage):
    browser = await stage.logged_in()
    form = (await browser.get("/account/clients")).form("/account/clients")
    page = await browser.post(form.action, form.fields, headers={"Origin": stage.base, "Sec-Fetch-Site": None})
    assert "The client is revoked." in page.text


Token = Callable[[Stage, str], Awaitable[str]]


async def _another_session(stage: Stage, token: str) -> str:
    return (await (await stage.logged_in()).get("/account/clients")).form("/account/clients").fields["token"]


async def _none(stage: Stage, token: str) -> str:
    return ""


async def _cut(stage: Stage, token: str) -> str:
    return token[:-1]


@pytest.mark.parametrize("made", [_another_session, _none, _cut])
async def test_a_form_without_the_token_of_its_session_changes_nothing(stage: Stage, made: Token):
    browser = await stage.logged_in()
    form = (await browser.get("/account/clients")).form("/account/clients")
    fields = {**form.fields, "token": await made(stage, form.fields["token"])}
    page = await browser.post(form.action, fields)
    assert (page.status, "This form is out of date" in page.text) == (403, True)
    assert (await stage.call("list_taxonomy")).code is None


async def test_a_form_of_an_ended_session_changes_nothing(stage: Stage):
    browser = await stage.logged_in()
    page = await browser.get("/account/clients")
    await browser.submit(await browser.get("/account"), "/logout")  # in another tab
    late = await browser.submit(page, "/account/clients")
    assert (late.status, "Your session has ended" in late.text) == (403, True)
    assert (await stage.call("list_taxonomy")).code is None


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"a=1&a=2", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"f%d=" % each for each in range(100)), "application/x-www-form-urlencoded", 400),
        (b"token=%FF", "application/x-www-form-urlencoded", 400),
        (b"token=" + b"x" * 17_000, "application/x-www-form-urlencoded", 413),
        (b"{}", "application/json", 400),
        (b"token=x", "multipart/form-data; boundary=x", 400),
        (b"token=x", "text/plain", 400),
    ],
)
async def test_other_bodies_than_small_forms_are_refused(stage: Stage, body: bytes, kind: str, status: int):
    browser = await stage.logged_in()
    headers = {
        "Content-Type": kind,
        "Origin": stage.base,
        "Cookie": f"{SESSION}={browser.cookie(SESSION)}",
    }
    answer = await stage.rig.request("POST", f"{stage.base}/account/clients", body, headers)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused(stage: Stage, method: str):
    answer = await stage.rig.request(method, f"{stage.base}/account", None, {"Origin": "https://evil.example"})
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD, POST"
    assert not any(name.startswith("Access-Control") for name in answer.headers)


async def test_a_head_has_no_body(stage: Stage):
    answer = await stage.rig.request("HEAD", f"{stage.base}/account")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("path", ["/account/nothing", "/account/clients/x", "/account/%2e%2e/mcp", "/account/logout/x"])
async def test_other_places_do_not_exist(stage: Stage, path: str):
    browser = await stage.logged_in()
    cookie = {"Cookie": f"{SESSION}={browser.cookie(SESSION)}"}
    answer = await raw(stage, path, cookie)
    assert answer.status == 404


@pytest.mark.parametrize("path", ["/accounts", "/accoun", "/Account", "/%61ccount"])
async def test_paths_that_look_alike_are_not_the_page(stage: Stage, path: str):
    answer = await raw(stage, path)
    assert (answer.status, answer.code) == (404, "path_unknown")


async def test_another_host_is_refused(stage: Stage):
    answer = await stage.rig.request("GET", f"{stage.base}/account", None, {"Host": "evil.example"})
    assert answer.code == "host_refused"


async def raw(stage: Stage, path: str, headers: dict[str, str] | None = None) -> Reply:
    """Ask for a path as it is written."""
    async with stage.rig.http.get(URL(f"{stage.base}{path}", encoded=True), headers=headers) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


# --- other people --------------------------------------------------------------------------------


async def test_another_account_is_not_shown_or_changed(stage: Stage):
    ada = await stage.logged_in()
    form = (await ada.get("/account/clients")).form("/account/clients")
    bob = await stage.logged_in("bob")
    for place in ("", "/clients", "/journal", "/journal.csv"):
        assert "cli-1" not in (await bob.get(f"/account{place}")).html
    own = (await bob.get("/account")).form("/logout").fields["token"]
    page = await bob.post(form.action, {**form.fields, "token": own})
    assert "Nothing was changed." in page.text
    assert (await stage.call("list_taxonomy")).code is None


async def test_a_person_of_an_organisation_sees_and_ends_own_consents_only(launch: Launch):
    stage = await launch(issuer={"claims": {"account": "org"}})
    stage.trial.person_claims = {"org": "acme"}
    await stage.rig.account("acme", credits=5)
    for subject, client in (("ada", "cli-ada"), ("bob", "cli-bob"), (None, "cli-all")):
        await stage.rig.run(changes.grant("main", "acme", subject, client))
    browser = await stage.logged_in("ada")
    page = await browser.get("/account/clients")
    assert ("cli-ada" in page.text, "cli-all" in page.text, "cli-bob" in page.text) == (True, True, False)
    journal = await browser.get("/account/journal")
    assert ("cli-ada" in journal.text, "cli-bob" in journal.text) == (True, False)
    forms = [each for each in page.forms if "client" in each.fields]
    assert len(forms) == 2
    for form in forms:
        await browser.post(form.action, form.fields)
    for subject, client, passes in (
        ("ada", "cli-ada", False),
        ("ada", "cli-all", False),
        ("bob", "cli-bob", True),
        ("bob", "cli-all", True),
    ):
        reply = await stage.call("list_taxonomy", subject=subject, client_id=client, org="acme")
        assert (reply.status == 200 and reply.code is None) is passes, (subject, client, reply)


async def test_an_account_that_neither_token_nor_userinfo_names_is_not_guessed(launch: Launch):
    stage = await launch(issuer={"claims": {"account": "org"}})
    page = await stage.browser().get("/account/login")
    assert (page.status, "This login names no account" in page.text) == (403, True)


async def test_hostile_names_are_text(stage: Stage):
    hostile = "<script>alert(1)</script>\"'&\u202e" + "x" * 500
    await stage.rig.grant(client=hostile)
    await stage.rig.grant(client="javascript:alert(1)")
    stage.trial.person_claims = {"name": hostile}
    browser = await stage.logged_in()
    for place in ("", "/clients", "/journal", "/confirm", "/connect"):
        page = await browser.get(f"/account{place}")
        assert_safe(page)
        assert "<script" not in page.html
        assert "\u202e" not in page.html
        assert not re.search(r'(href|src|action)="javascript:', page.html)
    saved = await browser.get("/account/journal.csv")
    assert saved.status == 200


async def test_a_spreadsheet_runs_no_name(stage: Stage):
    await stage.rig.grant(client="=HYPERLINK(1)")
    browser = await stage.logged_in()
    saved = await browser.get("/account/journal.csv")
    assert "'=HYPERLINK(1)" in saved.html
    assert not re.search(r"(^|,)=", saved.html)
