"""Admin API of several workers: the supervisor has it, and every worker obeys its changes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.admin_api.support import section, token_of
from tests.support.processes import succeeded, wait_for
from tests.support.store import StoreServer, free_port
from tests.workers.support import crewed

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


async def ask(url: str, method: str, path: str, by: str = "all", body: Any = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token_of(by)}"}
    async with aiohttp.ClientSession() as http, http.request(method, url + path, headers=headers, json=body) as answer:
        return answer.status, json.loads(await answer.read())


@pytest.mark.parametrize("embedded", [False, True])
async def test_a_revocation_by_the_supervisor_reaches_every_worker(
    tmp_path: Path, own_server: StoreServer, embedded: bool
):
    listen = f"127.0.0.1:{free_port()}"
    store: dict[str, Any] = {"store": {"url": "embedded", "directory": "store"}} if embedded else {}
    async with crewed(tmp_path, own_server.url, admin_api=section(listen), **store) as made:
        url = f"http://{listen}"
        consent = {"account": "ada", "subject": "ada", "client_id": "cli-1"}
        assert (await ask(url, "PATCH", "/v1/accounts/ada?create=true", body={"status": "active"}))[0] in (200, 201)
        assert (await ask(url, "POST", "/v1/consents", body={**consent, "status": "granted"}))[0] in (200, 201)
        assert all(map(succeeded, await made.on_new_connections(8)))
        assert (await ask(url, "POST", "/v1/consents", body={**consent, "status": "revoked"}))[0] == 200
        assert {reply.code for reply in await made.on_new_connections(8)} == {"consent_revoked"}
        found = await made.metrics()
        assert found['mcp_sidecar_admin_api_requests_total{operation="changeConsent"}'] == 2
        assert len(made.process.events("admin_api_listening")) == 1

        config = yaml.safe_load((tmp_path / "config.yaml").read_text())
        config["admin_api"]["tokens"] = [{"name": "fresh", "token": token_of("fresh"), "may": ["read"]}]
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        made.process.signal(signal.SIGHUP)
        await wait_for(lambda: bool(made.process.events("reloaded")))
        assert (await ask(url, "GET", "/v1/accounts", "fresh"))[0] == 200
        assert (await ask(url, "GET", "/v1/accounts", "all"))[0] == 401
