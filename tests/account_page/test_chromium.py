"""The account page in a real browser: what axe-core finds, the keyboard, and pictures for the documentation."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.account_page.stage import Stage
from tests.proxy.support import contacts
from tests.support.chromium import Tab, browser

pytestmark = pytest.mark.node  # axe-core comes from npm

PICTURES: Final = Path(__file__).parents[2] / "docs" / "images"
"""Where `ACCOUNT_PAGE_PICTURES=1` writes the pictures of the documentation."""
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
        await pictured(tab, f"x{place.strip('/') or 'overview'}-dark")
        await tab.look()
        await pictured(tab, f"x{place.strip('/') or 'overview'}")
    await tab.open(f"{stage.base}/account/callback?state=forged")
    await examine("error")
    assert found == {}
