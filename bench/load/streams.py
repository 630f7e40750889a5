"""A client that opens streams and keeps them open: `python -m bench.load.streams`, and JSON on its stdin.

It prints OPEN and their number, and when a second line arrives, the number of those that are still open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

from bench.material import ACCEPT, LEGACY, http, request

_AT_ONE_TIME = 50
_PER_ADDRESS = 20_000
"""Connections from one address of loopback, which has about 28,000 ports."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _head(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(f"no stream: {head!r} {await reader.read(500)!r}")
    return head


async def _session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> str:
    """Begin a session as clients of older revisions do; return its id."""
    headers = {"Accept": ACCEPT, "Authorization": f"Bearer {token}"}
    info = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": info}).encode()
    writer.write(http("POST", body, headers))
    head = (await _head(reader)).lower()
    await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
    return head.partition(b"mcp-session-id:")[2].partition(b"\r\n")[0].strip().decode()


async def _opened(number: int, given: dict[str, Any], gate: asyncio.Semaphore) -> Connection:
    """Open one stream and wait for its headers."""
    source = f"127.0.0.{1 + number // _PER_ADDRESS}"
    async with gate:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", given["port"], local_addr=(source, 0), limit=1 << 14
        )
        token = given["tokens"][number % len(given["tokens"])]
        if given["kind"] == "get":
            session = await _session(reader, writer, token)
            headers = {"Accept": "text/event-stream", "MCP-Protocol-Version": LEGACY, "Mcp-Session-Id": session}
            writer.write(http("GET", b"", {**headers, "Authorization": f"Bearer {token}"}))
        else:
            wanted = {"notifications": {"toolsListChanged": True}}
            writer.write(request("subscriptions/listen", wanted, token, number + 1))
        await _head(reader)
    return reader, writer


def _is_open(connection: Connection) -> bool:
    return not connection[0].at_eof() and not connection[1].is_closing()


async def _run(given: dict[str, Any]) -> None:
    gate = asyncio.Semaphore(_AT_ONE_TIME)
    connections = await asyncio.gather(*(_opened(number, given, gate) for number in range(given["streams"])))
    print("OPEN", len(connections), flush=True)
    with contextlib.suppress(EOFError):
        await asyncio.to_thread(sys.stdin.readline)
    print("OPEN", sum(_is_open(each) for each in connections), flush=True)


if __name__ == "__main__":
    asyncio.run(_run(json.loads(sys.stdin.readline())))
