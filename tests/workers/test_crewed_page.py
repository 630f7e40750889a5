"""The account page with several workers: each of them serves every session."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from sidecar.account_page.login.page_sessions import SESSION_COOKIE
from sidecar.store.commands.keys import account_keys
from sidecar.store.commands.page_logins import begin_page_session
from tests.support.store import StoreServer
from tests.workers.support import crewed

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

CONNECTIONS = 12
SECRET = "A" * 43


async def test_a_session_is_one_of_all_workers(tmp_path: Path, own_server: StoreServer):
    keys = account_keys("main", "ada")
    fields = {"issuer": "main", "account": "ada", "name": "Ada", "token": "token"}
    command = begin_page_session(keys, SECRET, "ada", fields)
    async with crewed(tmp_path, own_server.url, account_page={"client_id": "page"}) as made:
        with own_server.client() as client:
            words = (*command.keys, *command.arguments)
            assert client.eval(command.script.source, len(command.keys), *words) == 1
        page = made.process.url.replace("/mcp", "/account")
        for _ in range(CONNECTIONS):  # the kernel spreads connections among the workers
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
                cookie = {"Cookie": f"{SESSION_COOKIE}={keys.digest}.{SECRET}"}
                async with http.get(f"{page}/clients", headers=cookie) as answer:
                    assert (answer.status, "Connected clients" in await answer.text()) == (200, True)
