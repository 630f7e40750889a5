"""A name server that says where names are, until it falls silent."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest


class NameServer(asyncio.DatagramProtocol):
    """Answers every question for an IPv4 address with one address.

    Attributes:
        answer: the address, 127.0.0.1 at first.
        address: where it listens, on port 53.
        silent: whether questions are left without an answer.
        ignored: names that were asked for in vain.
    """

    def __init__(self) -> None:
        self.address = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
        self.answer = "127.0.0.1"
        self.silent = False
        self.ignored: list[str] = []
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own does not inherit from it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        end, labels = 12, []
        while data[end]:
            labels.append(data[end + 1 : end + 1 + data[end]].decode())
            end += 1 + data[end]
        question = data[12 : end + 5]
        (kind,) = struct.unpack("!H", data[end + 1 : end + 3])
        if self.silent:
            self.ignored.append(".".join(labels))
            return
        answers = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(self.answer) if kind == 1 else b""
        head = data[:2] + struct.pack("!HHHHH", 0x8180, 1, bool(answers), 0, 0)
        assert self._transport is not None
        self._transport.sendto(head + question + answers, addr)


@asynccontextmanager
async def name_server(folder: Path) -> AsyncIterator[tuple[NameServer, dict[str, Path]]]:
    """The server, and the files by which a process asks it and no other."""
    server = NameServer()
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=(server.address, 53))
    except OSError as error:
        pytest.skip(f"port 53 cannot be used here: {error}")
    written = folder / "resolv.conf"
    written.write_text(f"nameserver {server.address}\noptions timeout:30 attempts:3\n")
    try:
        yield server, {"/etc/resolv.conf": written}
    finally:
        transport.close()
