"""Unix socket for `mcp-sidecar reload`: one line in, one line of JSON out, then the end.

Only the user of the process can connect (mode 0600). A peer that is slow, silent or hostile holds one of a few places,
for a few seconds, and delays no call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import orjson

from sidecar.proxy.listener.accepting.unix_binding import BoundSocket, bind_unix, remove_socket
from sidecar.system.threads import LimitedThreads

RELOAD: Final = b"reload\n"
"""The one request."""
REQUEST_WITHIN: Final = 5.0
"""Seconds for a peer's request, and for a peer to read the answer."""
PEERS: Final = 8
"""Peers at one time; others are disconnected."""

_MAX_REQUEST: Final = 256  # bytes
_MODE: Final = 0o600

Answer = dict[str, Any]


class ControlSocket:
    """Listen for reloads.

    Args:
        path: of the socket.
        reload: reloads, and returns the answer.
        within: seconds; see `REQUEST_WITHIN`.
    """

    def __init__(self, path: Path, reload: Callable[[], Awaitable[Answer]], within: float = REQUEST_WITHIN) -> None:
        self._path = path
        self._reload = reload
        self._within = within
        self._disk = LimitedThreads("control")
        self._peers: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._bound: BoundSocket | None = None

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: another process listens there, the path is taken by another file, or it cannot be created.
        """
        self._bound = await self._disk.run(bind_unix, self._path, "the control socket", _MODE, PEERS)
        self._server = await asyncio.start_unix_server(self._serve, sock=self._bound.listening, limit=_MAX_REQUEST)

    async def close(self) -> None:
        """Stop listening, disconnect all peers and remove the socket."""
        if self._server is not None:
            self._server.close()
        for peer in list(self._peers):
            peer.cancel()
        await asyncio.gather(*self._peers, return_exceptions=True)
        await self._disk.run(remove_socket, self._bound)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._peers) >= PEERS:
            writer.transport.abort()
            return
        self._peers.add(task)
        try:
            await self._answer(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the peer has disconnected, is silent, or sends something else
        finally:
            self._peers.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._within):
            request = await reader.readuntil(b"\n")
        known = request == RELOAD
        answer = await self._reload() if known else {"ok": False, "problems": ["the request is not `reload`"]}
        writer.write(orjson.dumps(answer) + b"\n")
        async with asyncio.timeout(self._within):
            await writer.drain()
            writer.close()
            await writer.wait_closed()
