"""The client's end of one exchange: an answer at once or a stream, or nobody any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from aiohttp.web import BaseRequest, Response, StreamResponse

Header = tuple[str, str]

SERVER: Final = "mcp-sidecar"
"""The `Server` header of every answer: aiohttp's own would tell its version and Python's."""

_LAST_WORDS: Final = 1.0  # seconds beyond a call's deadline, to tell its client that it is over
_LARGE: Final = 64 * 1024  # bytes that a connection takes at once, whether or not anybody reads them


class Client:
    """Where an answer goes. After `leave` every write is swallowed, so a call can be read to its end.

    Args:
        request: the client's request.
        always: headers of every answer (request id, CORS).
        stall: seconds a client may take to read what was written before it counts as gone.

    Attributes:
        wrote: when anything was last written, on the event loop's clock; also when nobody read it.
        deadline: loop time by which a call has to be over, its client's reading included: a client
            that reads slowly must not outlive the lease of its own call. None for other requests.
    """

    def __init__(self, request: BaseRequest, always: Iterable[Header], stall: float) -> None:
        self._request = request
        self._always = list(always)
        self._stall = stall
        self._gone = False
        self._closing = False
        self.wrote = 0.0
        self.deadline: float | None = None
        self.response: StreamResponse | None = None

    @property
    def started(self) -> bool:
        """Whether the head of a stream was sent: an error must then be told inside the stream."""
        return isinstance(self.response, StreamResponse) and not isinstance(self.response, Response)

    @property
    def gone(self) -> bool:
        """Whether nobody reads any more."""
        return self._gone

    def add_header(self, name: str, value: str) -> None:
        """Add one header to the answer that is still to come."""
        self._always.append((name, value))

    def close_after(self) -> None:
        """Close the connection behind the answer: what else is on it may be read as something else."""
        self._closing = True

    def answer(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        """Give the whole answer; the server sends it when the handler returns."""
        response = Response(status=status, body=body)
        _set(response, headers, self._always)
        if self._closing:
            response.force_close()
        self.response = response

    async def deliver(self) -> None:
        """Send a large answer now and not when the handler returns: nobody waits for ever to be read."""
        response = self.response
        if self._gone or not isinstance(response, Response) or len(response.body or b"") < _LARGE:  # type: ignore[arg-type]
            return
        try:
            async with asyncio.timeout_at(self._patience()):
                await response.prepare(self._request)
                await response.write_eof()
        except (ConnectionError, TimeoutError):
            self.leave()

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        """Send the head of a stream."""
        self.wrote = asyncio.get_running_loop().time()
        if self._gone:
            return
        response = StreamResponse(status=status)
        _set(response, headers, self._always)
        try:
            await response.prepare(self._request)
        except ConnectionError:
            self.leave()
        self.response = response

    async def write(self, data: bytes) -> None:
        """Write to the stream, waiting while the client is slow; one that stalls is let go."""
        self.wrote = asyncio.get_running_loop().time()
        if self._gone or self.response is None:
            return
        try:
            async with asyncio.timeout_at(self._patience()):
                await self.response.write(data)
        except (ConnectionError, TimeoutError):
            self.leave()

    async def end(self) -> None:
        """End the stream."""
        if self._gone or self.response is None:
            return
        try:
            async with asyncio.timeout_at(self._patience()):
                await self.response.write_eof()
        except (ConnectionError, TimeoutError):
            self.leave()

    def _patience(self) -> float:
        until = asyncio.get_running_loop().time() + self._stall
        return until if self.deadline is None else min(until, self.deadline + _LAST_WORDS)

    def leave(self) -> None:
        """The client is gone; cut its connection, so that a stalled one holds nothing."""
        self._gone = True
        transport = self._request.transport
        if transport is not None:
            transport.abort()


def _set(response: StreamResponse, *groups: Iterable[Header]) -> None:
    response.headers["Server"] = SERVER
    for group in groups:
        for name, value in group:
            response.headers[name] = value
