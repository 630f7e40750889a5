"""The cheapest backend that answers a tool call: its own cost must not blur the proxies'."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own does not inherit from it
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(rest) < length:
                return
            body, self._buffer = rest[:length], rest[length:]
            self._transport.write(_answer(json.loads(body)["id"]))


def _answer(request_id: int) -> bytes:
    rows = {"rows": [{"id": "row-1"}, {"id": "row-2"}]}
    result = {"content": [{"type": "text", "text": json.dumps(rows)}], "structuredContent": rows}
    body = json.dumps({"jsonrpc": "2.0", "id": request_id, "result": {**result, "resultType": "complete"}}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
