"""Moments at which commands leave: a single one at once, those of a busy turn of the event loop together, in order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.store.connection.resp import RespTransport, pack
from tests.support.certificates import Authority, Pair

WORDS = [("GET", f"key-{number}") for number in range(6)]
COMMANDS = [pack(words) for words in WORDS]


class Peer:
    """A connection, and the other end of its socket, which looks at what has left this process."""

    def __init__(self, transport: RespTransport, end: socket.socket) -> None:
        self.transport = transport
        self._end = end
        self._replies: list[asyncio.Future[Any]] = []

    def write(self, *commands: bytes, now: bool = False) -> None:
        for command in commands:
            self._replies.append(reply := asyncio.get_running_loop().create_future())
            self.transport.write(command, reply, now)

    def left(self) -> bytes:
        """Bytes that have left since the last look."""
        try:
            return self._end.recv(1 << 16)
        except BlockingIOError:
            return b""

    async def answer(self) -> None:
        """Answer every pending command."""
        waiting = [reply for reply in self._replies if not reply.done()]
        self._end.sendall(b"+OK\r\n" * len(waiting))
        assert await asyncio.gather(*waiting) == [b"OK"] * len(waiting)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    own, end = socket.socketpair()
    end.setblocking(False)
    own.setblocking(False)
    made = await asyncio.get_running_loop().create_unix_connection(lambda: RespTransport(5, None), sock=own)
    yield Peer(made[1], end)
    made[0].close()
    end.close()


async def turn() -> None:
    """Let one turn of the event loop pass."""
    await asyncio.sleep(0)


async def test_a_single_command_leaves_at_once(peer: Peer):
    for command in COMMANDS:
        peer.write(command)
        assert peer.left() == command
        await peer.answer()


async def test_a_single_command_leaves_at_once_over_tls_too(authority: Authority, pair: Pair):
    own, end = socket.socketpair()
    own.setblocking(False)
    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(asyncio.to_thread(authority.server(pair).wrap_socket, end, server_side=True))
    client = authority.client()
    made = await loop.create_unix_connection(
        lambda: RespTransport(5, None), sock=own, ssl=client, server_hostname="localhost"
    )
    with await serving as encrypted:
        encrypted.setblocking(False)
        for command in COMMANDS:
            made[1].write(command, reply := loop.create_future(), now=False)
            assert encrypted.recv(1 << 16) == command
            encrypted.sendall(b"+OK\r\n")
            assert await reply == b"OK"
        made[0].abort()


async def test_commands_of_a_busy_turn_leave_together_and_in_order(peer: Peer):
    peer.write(*COMMANDS)
    assert peer.left() == b"".join(COMMANDS[:2]), "the first two find no others that are not answered"
    await turn()
    assert peer.left() == b"".join(COMMANDS[2:])
    await peer.answer()
    peer.write(*COMMANDS)
    assert peer.left() == b"", "the turn before was busy"
    await turn()
    assert peer.left() == b"".join(COMMANDS)


async def test_what_waits_for_commands_to_be_written_goes_on_when_they_have_left(peer: Peer):
    assert peer.transport.written() is None
    peer.write(*COMMANDS[:3])
    cancelled, waiting = peer.transport.written(), peer.transport.written()
    assert cancelled is not None
    assert waiting is not None
    cancelled.cancel()  # the client of one call has disconnected: the others' answers wait no longer for it
    assert peer.left() == b"".join(COMMANDS[:2])
    await waiting
    assert peer.left() == COMMANDS[2]
    assert peer.transport.written() is None


async def test_nothing_waits_for_commands_of_a_lost_connection(peer: Peer):
    peer.write(*COMMANDS[:3])
    waiting = peer.transport.written()
    assert waiting is not None
    peer.transport.abort("lost")
    await waiting
    assert peer.transport.written() is None


async def test_after_a_turn_with_a_single_command_the_next_leaves_at_once(peer: Peer):
    peer.write(*COMMANDS)
    await turn()
    await peer.answer()
    peer.write(COMMANDS[0])
    await turn()
    await peer.answer()
    peer.left()
    peer.write(COMMANDS[1])
    assert peer.left() == COMMANDS[1]


async def test_a_command_that_may_not_wait_takes_the_buffered_ones_along(peer: Peer):
    peer.write(*COMMANDS[:4])
    assert peer.left() == b"".join(COMMANDS[:2])
    peer.write(COMMANDS[4], now=True)
    assert peer.left() == b"".join(COMMANDS[2:5])
    peer.write(COMMANDS[5], now=True)
    assert peer.left() == COMMANDS[5]
