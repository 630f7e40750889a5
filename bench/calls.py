"""CPU per call of the sidecar and of a textbook proxy, in one interleaved run."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import uvloop
import yaml

from tests.support.issuer import Issuer
from tests.support.store import StoreServer, free_port

CONNECTIONS = 32
POLICY = """
scopes: {stores:read: Read stores., contacts:reveal: Reveal contacts.}
base_scopes: [stores:read]
quotas: {requests: {day: 1000000000}, search_rows: {month: 1000000000}}
credits: {contact: One per search.}
plans: {business: {}}
tools:
  search:
    scopes: [stores:read]
    arguments:
      properties: {query: {type: string}, limit: {type: integer, minimum: 1, maximum: 100, default: 25}}
      additionalProperties: false
    uses: {requests: 1, search_rows: {reserve: arguments.limit, settle: length(data.rows)}}
    spends: {contact: 1}
    rows: length(data.rows)
"""


def _ticks(pid: int) -> float:
    """CPU seconds of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Load(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, requests: list[bytes], left: list[int], done: asyncio.Event) -> None:
        self._requests, self._left, self._done = requests, left, done
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own does not inherit from it
        self._ask()

    def _ask(self) -> None:
        self._transport.write(self._requests[self._left[0] % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        if b" 200 " not in head[:20] or b'"isError":true' in rest or b'"error"' in rest:
            raise SystemExit(f"refused: {self._buffer!r}")
        self._buffer = b""
        self._left[0] -= 1
        if self._left[0] <= 0:
            self._done.set()
        else:
            self._ask()


async def _measure(port: int, pid: int, requests: list[bytes], calls: int) -> tuple[float, float]:
    """Microseconds of CPU per call, and calls per second."""
    loop = asyncio.get_running_loop()
    left, done = [calls], asyncio.Event()
    before, began = _ticks(pid), time.monotonic()
    transports = []
    for _ in range(CONNECTIONS):
        transport, _ = await loop.create_connection(lambda: _Load(requests, left, done), "127.0.0.1", port)
        transports.append(transport)
    await done.wait()
    seconds, used = time.monotonic() - began, _ticks(pid) - before
    for transport in transports:
        transport.close()
    return used / calls * 1e6, calls / seconds


def _request(port: int, token: str, number: int) -> bytes:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "search", "arguments": {"query": "coffee", "limit": 2}, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: search\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextlib.asynccontextmanager
async def _process(*command: str, port: int) -> AsyncIterator[int]:
    with open(os.devnull, "wb") as nothing:  # noqa: ASYNC230 - before anything is measured
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=nothing)
    try:
        for _ in range(1000):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.01)
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


def _prepare(folder: Path, issuer: Issuer, store: StoreServer, port: int, backend: int) -> Path:
    (folder / "policy.yaml").write_text(POLICY)
    config = {
        "resource": f"http://127.0.0.1:{port}/mcp",
        "listen": f"127.0.0.1:{port}",
        "admin": f"127.0.0.1:{free_port()}",
        "backend": {"url": f"http://127.0.0.1:{backend}/mcp"},
        "issuers": [{"issuer": issuer.url}],
        "store": {"url": store.url},
        "policies": [str(folder / "policy.yaml")],
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    cli = [sys.executable, "-m", "sidecar"]
    for command in (
        ["account", "set", "ada", "--plan", "business", "--create"],
        ["credits", "set", "ada", "contact", "1000000000"],
        ["consent", "grant", "ada", "cli-1"],
    ):
        subprocess.run([*cli, *command, "--config", str(path)], check=True, stdout=subprocess.DEVNULL)
    return path


async def _run(calls: int, rounds: int) -> None:
    store = StoreServer(options=("--appendonly", "yes", "--appendfsync", "everysec")).start()
    port, plain, backend = free_port(), free_port(), free_port()
    figures: dict[str, list[tuple[float, float]]] = {"policed": [], "textbook": []}
    try:
        async with Issuer(resource=f"http://127.0.0.1:{port}/mcp") as issuer:
            with tempfile.TemporaryDirectory() as name:
                config = await asyncio.to_thread(_prepare, Path(name), issuer, store, port, backend)
                requests = [_request(port, issuer.mint(lifetime=3600), number) for number in range(1, 65)]
                async with (
                    _process("-m", "bench.backend", str(backend), port=backend),
                    _process("-m", "sidecar", "serve", "--config", str(config), port=port) as policed,
                    _process("-m", "bench.textbook", str(plain), f"http://127.0.0.1:{backend}/mcp", port=plain) as text,
                ):
                    for number in range(rounds + 1):
                        for title, at, pid in (("policed", port, policed), ("textbook", plain, text)):
                            figure = await _measure(at, pid, requests, calls if number else calls // 4)
                            if number:  # the first round warms up
                                figures[title].append(figure)
    finally:
        store.close()
    medians = {}
    for title, values in figures.items():
        costs = sorted(cost for cost, _ in values)
        medians[title] = statistics.median(costs)
        rate = statistics.median(each for _, each in values)
        print(f"{title:9} {medians[title]:6.0f} us CPU per call ({costs[0]:.0f}-{costs[-1]:.0f}), {rate:6.0f} calls/s")
    print(f"ratio     {medians['policed'] / medians['textbook']:6.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=8000, help="calls per round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    uvloop.run(_run(given.calls, given.rounds))
