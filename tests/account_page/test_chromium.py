"""The account page in a real browser: what axe-core finds, the keyboard, and pictures for the documentation."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.account_page.stage import Stage
from tests.account_page.test_confirmations import asked
from tests.proxy.support import contacts
from tests.support.chromium import Tab, browser

pytestmark = pytest.mark.node  # axe-core comes from npm

PICTURES: Final = Path(__file__).parents[2] / "docs" / "images"
"""Folder of the pictures that `ACCOUNT_PAGE_PICTURES=1` writes for the documentation."""
PLACES: Final = ("", "/clients", "/journal", "/confirm", "/connect")


async def pictured(tab: Tab, name: str) -> None:
    """Write a picture, if it was asked for."""
    if os.environ.get("ACCOUNT_PAGE_PICTURES"):
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / f"{name}.png").write_bytes(await tab.screenshot())


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    """A tab of a browser without cookies."""
    async with browser(tmp_path) as chromium:
        yield await chromium.tab()


async def used(stage: Stage) -> None:
    """Some calls, so that every page has something to show."""
    await stage.rig.grant(scopes=["stores:read", "contacts:reveal"])
    await stage.rig.grant(client="https://client.example/oauth/metadata.json")
    await stage.rig.grant(client="cli-2")
    await stage.rig.revoke(client="cli-2")
    for ids in ("ab", "cd"):
        assert (await stage.call("reveal_contacts", contacts(*ids))).status == 200
    assert (await stage.call("search_shopify_stores", {"limit": 40})).status == 200


async def test_every_page_is_accessible_in_light_and_dark_and_on_a_phone(stage: Stage, tab: Tab):
    await used(stage)
    found: dict[str, list[str]] = {}

    async def examine(name: str) -> None:
        for dark, width in ((False, 1100), (True, 390)):
            await tab.look(dark=dark, width=width)
            if violations := await tab.violations():
                found[f"{name} {'dark' if dark else 'light'} {width}"] = violations
            overflow = await tab.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
            assert not overflow, f"{name} is wider than a window of {width}"

    await tab.open(f"{stage.base}/account")
    await examine("welcome")
    await tab.click("a.button")
    for place in PLACES:
        await tab.open(f"{stage.base}/account{place}")
        await examine(place or "overview")
    await tab.open(f"{stage.base}/account/confirm/{(await asked(stage)).handle}")
    await examine("confirmation")
    await tab.open(f"{stage.base}/account/callback?state=forged")
    await examine("error")
    assert found == {}


async def test_the_keyboard_reaches_everything(stage: Stage, tab: Tab):
    """From the address bar: skip the navigation, and revoke the one client."""
    await tab.open(f"{stage.base}/account/login")
    await tab.open(f"{stage.base}/account/clients")
    await tab.press("Tab")
    assert await focused(tab) == "Skip to the content"
    assert await tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0, "it is visible"
    await tab.press("Enter")
    seen = []
    while (words := await focused(tab)) != "Revoke":
        seen.append(words)
        assert len(seen) < 30, seen
        await tab.press("Tab")
    assert "Overview" not in seen, "the navigation was skipped"
    async with tab.loading():
        await tab.press("Enter")
    assert "The client is revoked." in await tab.text()


async def test_a_person_confirms_and_a_person_revokes(stage: Stage, tab: Tab):
    """The two scenes that the documentation shows."""
    await used(stage)
    approval = await asked(stage)
    stage.trial.person_claims = {"name": "Ada Lovelace"}
    await tab.look(height=560)
    await tab.open(f"{stage.base}/account/confirm/{approval.handle}")
    await tab.click("a.button")
    assert await tab.url() == f"{stage.base}/account/confirm/{approval.handle}"
    await pictured(tab, "account-page-confirm")
    await tab.click("button[value=accept]")
    assert "Approved Reveal contacts Return to the client" in await tab.text()
    await tab.look(height=760)
    await tab.click("nav a[href$=clients]")
    await pictured(tab, "account-page-clients")
    await tab.click("button.danger")
    assert "The client is revoked." in await tab.text()
    await tab.back()
    assert await tab.url() == f"{stage.base}/account/clients", "going back repeats no form"


async def test_a_form_of_another_site_is_refused_by_the_page(stage: Stage, tab: Tab):
    """The browser sends its cookie with no form of another site, and says where it comes from."""
    await tab.open(f"{stage.base}/account/login")
    token = await tab.evaluate("document.querySelector('[name=token]').value")
    other = stage.base.replace("127.0.0.1", "localhost")  # another site, which the browser trusts like this one
    await tab.open(f"{other}/")
    fields = f'<input name=token value="{token}"><input name=everywhere value=yes>'
    form = f'<form method=post action="{stage.base}/account/logout">{fields}</form>'
    async with tab.loading():
        await tab.evaluate(f"document.body.innerHTML = {json.dumps(form)}; document.forms[0].submit()")
    assert "Nothing was changed." in await tab.text()
    await tab.open(f"{stage.base}/account")
    assert "Your account" in await tab.text()


async def focused(tab: Tab) -> str:
    return str(await tab.evaluate("document.activeElement.innerText || document.activeElement.tagName")).strip()
