"""`try` in front of a server with sessions, and official clients that log in at its issuer from the bare URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.driven_python import MODES, driven_python
from tests.clients.test_everything import running
from tests.support.backend import Backend
from tests.support.trying import trying


@pytest.mark.node
async def test_the_printed_calls_go_on_with_a_session(tmp_path: Path):
    async with running() as url, trying(tmp_path, url) as trial:
        made = trial.document
        assert "Mcp-Session-Id: " in (Path(made["config"]).parent / "headers").read_text()
        allowed, refused = await trial.curl(made["allowed"]), await trial.curl(made["refused"])
        assert allowed.events[-1]["result"]["content"]
        assert (refused.status, refused.code) == (200, made["code"])
        assert len((await trial.curl(made["list"])).events[-1]["result"]["tools"]) == made["tools"]
    assert trial.status == 0, trial.errors


@pytest.mark.parametrize("kind", MODES)
async def test_a_client_logs_in_from_the_bare_url(tmp_path: Path, kind: str):
    async with (
        Backend() as backend,
        trying(tmp_path, backend.url) as trial,
        driven_python(kind, trial.document["resource"]) as client,
    ):
        await client.connect()
        assert len(await client.tools()) == trial.document["tools"]
        assert len(await client.logins()) == 1
