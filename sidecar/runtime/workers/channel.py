"""Channel between supervisor and worker: one JSON object in a line, or a worker's metrics.

Writes never wait: what a peer does not read is bounded, and dropped beyond that. Both sides run the same code.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable
from typing import Any, Final, cast

import orjson

MAX_UNSENT: Final = 64 << 20
"""Bytes that a peer has not read; a message beyond that is dropped. The largest are the files of a reload."""

_CLOSE_WITHIN: Final = 5.0  # seconds
_METRICS: Final = b"M"  # first byte of a line with metrics, which the supervisor keeps undecoded

Message = dict[str, Any]


class ChannelError(Exception):
    """The peer has ended, or reads nothing."""


class Channel(asyncio.Protocol):
    """One end of a channel.

    Args:
        received: gets each message that is no answer.
        metrics: gets the metrics of a worker, as JSON.
        lost: called when the peer has ended.
    """

    def __init__(
        self,
        received: Callable[[Message], None],
        metrics: Callable[[bytes], None] = lambda _: None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._received = received
        self._metrics = metrics
        self._lost = lost
        self._buffer = bytearray()
        self._searched = 0
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._transport: asyncio.Transport | None = None
        self._ended = asyncio.Event()

    async def open(self, connected: socket.socket) -> None:
        """Begin on a connected socket."""
        connected.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=connected)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the peer."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, message: Message) -> bool:
        """Send a message; return False if it was dropped."""
        return self._write(orjson.dumps(message) + b"\n")

    def send_metrics(self, encoded: bytes, number: int = 0) -> bool:
        """Send metrics; return False if they were dropped.

        Args:
            encoded: JSON in one line.
            number: of the scrape that asked for them; 0 without one.
        """
        return self._write(b"%s%d %s\n" % (_METRICS, number, encoded))

    async def ask(self, kind: str, within: float, **fields: Any) -> Message:
        """Send a request and return its answer.

        Args:
            kind: of the request.
            within: seconds for the answer.
            fields: of the message.

        Raises:
            ChannelError: the peer has ended, or does not answer in time.
        """
        number = next(self._numbers)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            if not self.send({**fields, "kind": kind, "ask": number}):
                raise ChannelError("the process has ended or reads nothing")
            async with asyncio.timeout(within):
                return await answer
        except TimeoutError:
            raise ChannelError(f"no answer in {within:g} s") from None
        finally:
            self._asked.pop(number, None)

    def answer(self, request: Message, **fields: Any) -> None:
        """Answer a request."""
        self.send({**fields, "kind": "answer", "ask": request["ask"]})

    async def close(self) -> None:
        """End the channel once the peer has read what was sent, or after some seconds."""
        if self._transport is None:
            return
        self._transport.close()
        await self.ended()

    async def ended(self) -> None:
        """Wait until the peer has ended and what it sent is received, or for some seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN):
                await self._ended.wait()

    # --- events of the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Fail what is asked, and report the end."""
        self._transport = None
        self._ended.set()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(ChannelError("the process has ended"))
        self._lost()

    def data_received(self, data: bytes) -> None:
        """Take the lines that are complete."""
        buffer = self._buffer
        buffer += data
        begin = 0
        while (end := buffer.find(b"\n", max(begin, self._searched))) >= 0:
            self._take(bytes(buffer[begin:end]))
            begin, self._searched = end + 1, 0
        del buffer[:begin]
        self._searched = len(buffer)

    def _take(self, line: bytes) -> None:
        if line.startswith(_METRICS):
            head, _, encoded = line.partition(b" ")
            self._metrics(encoded)
            self._settle(int(head[1:]), {})
            return
        message: Message = orjson.loads(line)
        if message["kind"] == "answer":
            self._settle(message["ask"], message)
        else:
            self._received(message)

    def _settle(self, number: int, message: Message) -> None:
        answer = self._asked.get(number)
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _write(self, line: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing() or self.unsent + len(line) > MAX_UNSENT:
            return False
        transport.write(line)
        return True
