"""A forwarding HTTP proxy: CONNECT for https, absolute-form requests for http. It knows all names itself.

async with ForwardProxy({"issuer.test": port}) as proxy: ...
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit


class ForwardProxy:
    """A proxy on loopback.

    Args:
        hosts: the local port of each name that it forwards to, whatever port is asked for.
        credentials: `user:password` that it asks for; None asks for none.

    Attributes:
        address: its host and port, also after its end.
        requests: the first line of every request.
        seen: everything that was sent to it outside of tunnels.
    """

    def __init__(self, hosts: Mapping[str, int], credentials: str | None = None) -> None:
        self._hosts = hosts
        self._credentials = credentials
        self.requests: list[str] = []
        self.seen = b""
        self.address = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.seen += head
            line, *fields = head.decode().split("\r\n")
            self.requests.append(line)
            method, target, _ = line.split(" ")
            if self._credentials is not None:
                expected = base64.b64encode(self._credentials.encode()).decode()
                if f"proxy-authorization: basic {expected}".lower() not in [field.lower() for field in fields]:
                    writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                    return
            await self._forward(method, target, fields, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _forward(
        self, method: str, target: str, fields: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        port = self._hosts.get(parts.hostname or "")
        if port is None:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        upstream, sending = await asyncio.open_connection("127.0.0.1", port)
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                kept = [each for each in fields if each and not each.lower().startswith(("proxy-", "connection"))]
                lines = [f"{method} {path} HTTP/1.1", *kept, "Connection: close"]
                sending.write("\r\n".join([*lines, "", ""]).encode())
            await asyncio.gather(_copy(reader, sending), _copy(upstream, writer))
        finally:
            sending.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
