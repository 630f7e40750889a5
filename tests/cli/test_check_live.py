"""`check --live`: exit status, places and JSON, for backends that fit the policy and backends that do not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli import main
from tests.cli.support import CONFIG, Result, write
from tests.support import backend as scripted
from tests.support.backend import Backend
from tests.support.store import StoreServer

Check = Callable[..., Awaitable[Result]]
SEARCH = {"name": "search", "inputSchema": {"properties": {"limit": {}}}}
REVEAL = {"name": "reveal", "inputSchema": {"properties": {"ids": {}, "ok": {}}}}


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], tmp_path: Path, store_server: StoreServer) -> Check:
    """Run `check --live` in a thread, for a backend of this event loop that lists these tools."""

    async def run_check(*tools: Any, words: tuple[str, ...] = (), backend: Backend | None = None) -> Result:
        async with backend or Backend() as serving:
            if backend is None:
                serving.on("tools/list", scripted.result({"tools": list(tools)}))
            text = CONFIG.replace("http://127.0.0.1:8000/mcp", serving.url)
            config = write(tmp_path, store=store_server.url, config=text)
            capsys.readouterr()
            status = await asyncio.to_thread(main, ["check", "--live", "--config", str(config), *words])
            return Result(status, *capsys.readouterr())

    return run_check


async def test_a_backend_that_fits_is_0(check: Check):
    result = await check(SEARCH, REVEAL)
    assert (result.status, result.out.splitlines()[-1]) == (0, "  live      as the backend lists")


async def test_undeclared_tools_are_a_notice_and_0(check: Check):
    result = await check(SEARCH, REVEAL, {"name": "other\x1b"})
    assert result.status == 0
    assert "live: note: other\\x1b: the backend lists it and the policy does not declare it" in result.err


async def test_differences_are_1_with_the_place_of_the_rule(check: Check, tmp_path: Path):
    result = await check(SEARCH, {**REVEAL, "inputSchema": {"properties": {"id": {}, "ok": {}}}})
    assert (result.status, result.out.splitlines()[-1]) == (1, "  live      1 difference to the backend")
    (line,) = [line for line in result.err.splitlines() if line.startswith("live: ")]
    assert line == (
        f"live: {tmp_path}/policies/p.yaml:18: reveal: the argument 'ids' is declared, "
        "and the backend's schema has id, ok; did you mean 'id'?"
    )


async def test_json_has_every_finding(check: Check):
    document = json.loads((await check(SEARCH, {"name": "x"}, words=("--format", "json"))).out)
    assert (document["ok"], document["live"]["ok"]) == (False, False)
    assert [(each["kind"], each["name"], each["fails"]) for each in document["live"]["findings"]] == [
        ("tool_missing", "reveal", True),
        ("tool_undeclared", "x", False),
    ]


async def test_a_backend_that_cannot_be_listed_is_1(check: Check):
    backend = Backend()
    backend.on("tools/list", scripted.http(500))
    result = await check(backend=backend)
    assert (result.status, result.out) == (1, "")
    assert "the backend answered tools/list with 500; --live needs the running backend" in result.err
