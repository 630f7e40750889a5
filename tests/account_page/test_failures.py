"""Failures behind the page: an issuer or a store that does not answer, floods, reloads."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from sidecar.account_page.login import login_limits
from sidecar.management.account_records import delete_account
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from tests.account_page.conftest import Launch
from tests.account_page.stage import Stage, assert_safe
from tests.proxy.test_store_user import PASSWORD, documented
from tests.support.rig import second_sidecar
from tests.support.store import StoreServer, free_port


async def test_an_issuer_that_is_away_is_a_page(launch: Launch):
    stage = await launch(issuer={"issuer": f"http://127.0.0.1:{free_port()}/api/auth"}, ready=False)
    page = await stage.browser().get("/account/login")
    assert_safe(page)
    assert (page.status, "The login server does not answer" in page.text) == (502, True)
    [line] = [each for each in stage.rig.log if each["event"] == "account_page_login_failed"]
    assert line["fault"] == "issuer_unavailable"
    assert "the connection failed" in line["problem"]


async def test_a_session_needs_no_issuer(stage: Stage):
    browser = await stage.logged_in()
    stage.trial.keys_down = True
    stage.trial.keys.clear()
    assert "Your account" in (await browser.get("/account")).text


async def test_keys_that_are_away_are_no_wrong_token(launch: Launch):
    stage = await launch()
    stage.trial.keys_down = True
    stage.trial.rotate()
    page = await stage.browser().get("/account/login")
    assert (page.status, "The login server does not answer" in page.text) == (502, True)


async def test_a_store_that_is_away_is_a_page(launch: Launch, own_server: StoreServer):
    stage = await launch(server=own_server)
    browser = await stage.logged_in()
    pages = {}
    own_server.pause()
    try:
        for place in ("", "/clients", "/login"):
            pages[place] = await browser.get(f"/account{place}", follow=False)
    finally:
        own_server.resume()
    for page in pages.values():
        assert_safe(page)
        assert (page.status, "Your account cannot be read just now" in page.text) == (503, True)
        assert page.headers["Retry-After"] == "1"


async def test_the_documented_user_of_the_store_is_enough(launch: Launch, own_server: StoreServer):
    with own_server.client() as client:
        client.execute_command(*documented())
    url = f"unix://sidecar:{quote(PASSWORD, safe='')}@{own_server.path}"
    stage = await launch(server=own_server, store_url=url)
    browser = await stage.logged_in()
    for place in ("", "/clients", "/journal", "/journal.csv", "/confirm", "/connect"):
        assert (await browser.get(f"/account{place}")).status == 200
    revoked = await browser.submit(await browser.get("/account/clients"), "/account/clients")
    assert "The client is revoked." in revoked.text
    assert "You are logged out" in (await browser.submit(revoked, "/logout")).text


async def test_deleting_an_account_ends_its_sessions(stage: Stage):
    ada, bob = await stage.logged_in(), await stage.logged_in("bob")
    store = OperatorStore(stage.rig.sidecar.pipeline.snapshot.settings.store)
    try:
        await store.start()
        await delete_account(store, Target("main", "ada"), by="command")
    finally:
        await store.close()
    assert "Your session has ended" in (await ada.get("/account")).text
    assert "Your account" in (await bob.get("/account")).text


async def test_one_address_begins_a_bounded_number_of_logins(stage: Stage):
    browser = stage.browser()
    statuses = []
    while 503 not in statuses:
        statuses.append((await browser.get("/account/login", follow=False)).status)
    assert statuses[:-1] == [303] * (len(statuses) - 1)
    assert len(statuses) > login_limits.BURST


async def test_a_reload_moves_and_removes_the_page(stage: Stage):
    browser = await stage.logged_in()
    config = json.loads(stage.rig.config.read_text())
    config["account_page"]["path"] = "/me/account"
    stage.rig.config.write_text(json.dumps(config))
    assert await stage.rig.sidecar.reload()
    assert (await stage.rig.request("GET", f"{stage.base}/account")).code == "path_unknown"
    assert "Your account" in (await browser.get("/me/account")).text, "sessions stay"
    del config["account_page"]
    stage.rig.config.write_text(json.dumps(config))
    assert await stage.rig.sidecar.reload()
    assert (await stage.rig.request("GET", f"{stage.base}/me/account")).code == "path_unknown"


async def test_a_proxy_with_another_host_changes_no_address(launch: Launch):
    stage = await launch(hosts=["internal.example"])
    browser = stage.browser()
    page = await browser.get("/account/login", follow=False, headers={"Host": "internal.example"})
    assert (
        f"redirect_uri={stage.base.replace(':', '%3A').replace('/', '%2F')}%2Faccount%2Fcallback"
        in page.headers["Location"]
    )


async def test_two_sidecars_share_sessions(stage: Stage, tmp_path_factory: pytest.TempPathFactory):
    browser = await stage.logged_in()
    async with second_sidecar(stage.rig, tmp_path_factory.mktemp("second")) as other:
        cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies[stage.base].items())}
        answer = await other.request("GET", f"{other.url.removesuffix('/mcp')}/account", None, cookie)
        assert b"Your account" in answer.body
