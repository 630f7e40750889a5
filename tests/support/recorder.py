"""A TCP port in front of a backend that keeps every byte that reaches it, whatever server the backend is.

async with Recorder(url) as recorder:
    ...                                   # the sidecar's backend is `recorder.url`
    for request in await recorder.requests():
        assert_nothing_but_ours(request)
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from tests.support.backend import Received, read_request


@dataclass(slots=True)
class Passed:
    """One connection: what the client of the backend wrote, and what the backend answered."""

    sent: bytearray
    answered: bytearray


class Recorder:
    """Use it as an async context manager; `url` is known inside.

    Args:
        url: the backend's.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = parts.hostname, parts.port
        self._path = parts.path
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: list[Passed] = []
        """Every connection, in the order they were opened."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The backend through this port."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._path}"

    @property
    def sent(self) -> bytes:
        """All that was written to the backend, connection after connection."""
        return b"".join(passed.sent for passed in self.connections)

    async def requests(self) -> list[Received]:
        """Every request of clients that arrived whole, by connection; the sidecar's own lists are left out."""
        found = []
        for number, passed in enumerate(self.connections):
            reader = asyncio.StreamReader(limit=2**20)
            reader.feed_data(passed.sent)
            reader.feed_eof()
            while (request := await read_request(reader, number)) is not None:
                if not request.own:
                    found.append(request)
        return found

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        passed = Passed(bytearray(), bytearray())
        self.connections.append(passed)
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        ways = [
            asyncio.create_task(_pump(reader, up_writer, passed.sent)),
            asyncio.create_task(_pump(up_reader, writer, passed.answered)),
        ]
        try:
            # Whichever side ends the connection ends it for both: an MCP peer that has left is gone.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for one in (writer, up_writer):
                one.close()
            self._tasks.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            kept += data
            writer.write(data)
            await writer.drain()
