"""The two places where the suite is run: at the server itself, and at the sidecar in front of one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import yaml

from tests.conformance.shim import Shim
from tests.support.issuer import Issuer
from tests.support.processes import SidecarProcess
from tests.support.rig import ACCEPT, MODERN, config_of
from tests.support.store import StoreServer

ROOT: Final = Path(__file__).parents[2]
METHODS: Final = (
    *("completion/complete", "logging/setLevel", "subscriptions/listen"),
    *("tasks/get", "tasks/update", "tasks/cancel"),
)
"""Methods that a policy declares by name, because they name no tool, resource or prompt."""


@asynccontextmanager
async def bare() -> AsyncIterator[str]:
    """The URL of a server of its own, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tests.conformance.server", "--attached"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,  # closed when this process ends, however it ends
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # tools that fail on purpose leave tracebacks there
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        assert line, "the server has not started: python -m tests.conformance.server says why"
        yield line.decode().strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


@asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[str]:
    """The URL of a shim, a sidecar that allows everything and another server, all of them its own.

    Args:
        folder: an empty one, for the sidecar's config, policy and log.
    """
    store = StoreServer().start()
    try:
        async with bare() as backend, Issuer() as issuer:
            token = issuer.mint(scopes=())
            async with Shim(lambda: token) as shim:
                config = folder / "config.yaml"
                policy = folder / "policy.yaml"
                policy.write_text(yaml.safe_dump(await allow_all(backend)))
                # The suite knows the shim only, as clients know a load balancer: its name and its origin are let in.
                here = f"localhost:{shim.port}"
                made = config_of(issuer, backend, store.url, 1, policy, listen="127.0.0.1:0", resource=issuer.resource)
                config.write_text(yaml.safe_dump({**made, "hosts": [here], "origins": [f"http://{here}"]}))
                async with _sidecar(config, folder / "log.jsonl") as sidecar:
                    address = urlsplit(sidecar.url)
                    assert address.hostname is not None
                    assert address.port is not None
                    shim.target = (address.hostname, address.port)
                    yield f"http://{here}/mcp"
    finally:
        store.close()


@asynccontextmanager
async def _sidecar(config: Path, log: Path) -> AsyncIterator[SidecarProcess]:
    process = SidecarProcess(config, log, 60.0)
    try:
        await process.listening()
        async with aiohttp.ClientSession() as http, asyncio.timeout(60):
            while await _status(http, f"{process.admin}/readyz") != 200:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.01)
        yield process
    finally:
        process.destroy()


async def _status(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as answer:
        return answer.status


async def allow_all(backend: str) -> dict[str, Any]:
    """A policy under which everything may happen that the server offers, for nothing."""
    free: dict[str, Any] = {"scopes": []}
    async with aiohttp.ClientSession() as http:
        tools, prompts = await _listed(http, backend, "tools"), await _listed(http, backend, "prompts")
    return {
        "scopes": {},
        "consent": "first_use",
        "tools": {tool["name"]: free for tool in tools},
        "resources": {"*": free},
        "prompts": {prompt["name"]: free for prompt in prompts},
        "methods": dict.fromkeys(METHODS, free),
    }


async def _listed(http: aiohttp.ClientSession, backend: str, kind: str) -> list[dict[str, Any]]:
    method = f"{kind}/list"
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}}
    headers = {"Accept": ACCEPT, "MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    async with http.post(backend, json=message, headers=headers) as answer:
        answer.raise_for_status()
        result = (await answer.json())["result"]
    assert "nextCursor" not in result
    return list(result[kind])
