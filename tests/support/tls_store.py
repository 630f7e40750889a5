"""A store behind TLS: something that ends TLS in front of a server, for servers that cannot speak it themselves."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Self


class TlsProxy:
    """Ends TLS on a port of 127.0.0.1 and passes what it reads to a unix socket.

    Attributes:
        handshakes: connections whose handshake succeeded, with the version they agreed on.
        passed: bytes of clients that reached the server.
    """

    def __init__(self, target: Path, tls: ssl.SSLContext) -> None:
        self._target = target
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.handshakes: list[str | None] = []
        self.passed = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Cut every open connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handshakes.append(writer.get_extra_info("ssl_object").version())
        up_reader, up_writer = await asyncio.open_unix_connection(str(self._target))
        mine = {writer, up_writer}
        self._writers |= mine
        try:
            await asyncio.gather(self._pump(reader, up_writer, True), self._pump(up_reader, writer, False))
        finally:
            for each in mine:
                each.transport.abort()
            self._writers -= mine

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inward: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.passed += len(data) if inward else 0
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
