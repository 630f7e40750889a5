"""A person logs in at a real authorization server in Chromium, sees a connected client, and revokes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.clients.driven import driven
from tests.clients.person import person
from tests.clients.support import ALLOW_ALL, node_server
from tests.clients.test_providers import PROVIDERS, mirrored, provider
from tests.support.chromium import LIMIT, Tab, browser
from tests.support.rig import Json, Rig, rig
from tests.support.store import StoreServer, free_port

pytestmark = pytest.mark.node

TYPED = {"user": "ada", "email": "ada@example.com", "password": "correct horse"}


async def registered(issuer: str, redirect_uri: str) -> Json:
    """Register the page as a client of the issuer, as its operator would by hand."""
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{issuer}/.well-known/openid-configuration") as answer:
            endpoint = (await answer.json())["registration_endpoint"]
        document = {
            "client_name": "account page",
            "application_type": "native",
            "redirect_uris": [redirect_uri],
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }
        async with http.post(endpoint, json=document) as answer:
            found = await answer.json()
            assert answer.status in (200, 201), found
    return dict(found)


@pytest.fixture(params=PROVIDERS)
async def deployed(
    request: pytest.FixtureRequest, tmp_path: Path, store_server: StoreServer
) -> AsyncIterator[tuple[Rig, str]]:
    """A sidecar with an account page in front of an official server, and its issuer."""
    listen, admin_api = (f"127.0.0.1:{free_port()}" for _ in range(2))
    resource = f"http://{listen}/mcp"
    async with AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(
            provider(request.param, tmp_path, resource=resource, api=f"http://{admin_api}")
        )
        client = await registered(issuer, f"http://{listen}/account/callback")
        built = await stack.enter_async_context(
            rig(
                tmp_path,
                store_server,
                policy={**ALLOW_ALL, "consent": "required", "scopes": {"stores:read": "Read stores."},
                        "base_scopes": ["stores:read"]},
                backend_url=await stack.enter_async_context(node_server("v2.mjs")),
                issuer={"issuer": issuer},
                resource=resource,
                listen=listen,
                account_page={"client_id": client["client_id"]},
                admin_api=mirrored(admin_api),
                shutdown_grace="100ms",
            )
        )  # fmt: skip
        built.url = resource
        yield built, issuer


async def log_in(tab: Tab, base: str) -> None:
    """Log in with whatever forms the issuer shows."""
    await tab.open(f"{base}/account")
    await tab.click("a.button")
    async with asyncio.timeout(LIMIT):
        while not (await tab.url()).startswith(base):
            for name, text in TYPED.items():
                if await tab.evaluate(f"!!document.querySelector('[name={name}]')"):
                    await tab.fill(f"[name={name}]", text)
            await tab.click("button")


async def test_a_person_revokes_a_client_in_a_browser(deployed: tuple[Rig, str], tmp_path: Path):
    built, issuer = deployed
    base = "{0.scheme}://{0.netloc}".format(urlsplit(built.url))
    async with (
        person(**TYPED) as ada,
        driven("v2-modern", built.url, browser=ada.url) as client,
        browser(tmp_path) as chromium,
    ):
        await client.connect()
        await client.do("listen")
        tab = await chromium.tab()
        await log_in(tab, base)
        assert await tab.url() == f"{base}/account", await tab.text()
        cookies = {each["name"]: each for each in await tab.cookies()}
        assert cookies["__Host-mcp-account"]["httpOnly"]
        assert cookies["__Host-mcp-account"]["secure"]

        await tab.open(f"{base}/account/clients")
        text = await tab.text()
        assert "Read stores." in text, text
        assert text.count("Revoke ") + text.endswith("Revoke") == 1, "the page's own client is not listed"
        await tab.click("button.danger")
        assert "The client is revoked." in await tab.text()
        async with asyncio.timeout(LIMIT):
            assert await client.do("ended") == "remote"
        lines = [line for line in built.log if line["event"] == "account_page_login"]
        assert [line["issuer"] for line in lines] == ["main"]
        assert json.dumps(built.log).count("eyJ") == 0, issuer
