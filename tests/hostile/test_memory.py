"""Memory of a real process under clients and backends that send a lot and finish nothing.

`limits.memory` is an eighth of the default, and so are the amounts that used to take 900 and 700 MiB.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import pytest
import yaml
from pytest_aiohttp import AiohttpServer

from sidecar.proxy.memory import COPIES
from tests.support.backend import Turn, after, result
from tests.support.introspection import Introspection
from tests.support.processes import House, SidecarProcess, house, succeeded, wait_for
from tests.support.rig import ACCEPT, LEGACY
from tests.support.store import StoreServer

pytestmark = pytest.mark.timeout(600)  # attacks take minutes of a processor that others share

MIB: Final = 1 << 20
MEMORY: Final = 64 * MIB
SLACK: Final = 32 * MIB
"""For what is not counted: code that runs for the first time, the allocator, and one chunk that is being read."""
PER_CONNECTION: Final = 128 * 1024
"""Bytes and objects that a connection holds whose client has sent as much as it may and is not read."""
POLICY: Final = """
scopes: {}
consent: first_use
tools:
  search: {scopes: [], timeout: 60s}
  get_usage: {scopes: [], serve: usage}
"""
LIMITS: Final = {"memory": "64MiB", "body": "1MiB", "response": "8MiB", "in_flight_per_account": 250}


@dataclass(slots=True)
class Place:
    """A sidecar under attack.

    Attributes:
        before: bytes that were resident when it had served its first call.
    """

    built: House
    sidecar: SidecarProcess
    before: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.sidecar.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def status(self, name: str) -> int:
        """A size in `/proc/PID/status`, in bytes."""
        text = Path(f"/proc/{self.sidecar.pid}/status").read_text()
        [line] = [line for line in text.splitlines() if line.startswith(f"{name}:")]
        return int(line.split()[1]) * 1024

    def begin(self) -> None:
        """Measure from now on."""
        Path(f"/proc/{self.sidecar.pid}/clear_refs").write_text("5")  # the peak is what is resident now
        self.before = self.status("VmRSS")

    def grown(self) -> int:
        """The most that was resident since the attack began, beyond what was before."""
        return self.status("VmHWM") - self.before

    async def held(self) -> int:
        """Bytes that the sidecar says that it holds."""
        async with self.built.http.get(f"{self.sidecar.admin}/metrics") as answer:
            text = await answer.text()
        [line] = [line for line in text.splitlines() if line.startswith("mcp_sidecar_memory_bytes ")]
        return int(float(line.split()[1]))

    async def until_held(self, low: int, high: int) -> None:
        async with asyncio.timeout(240):
            while not low <= await self.held() <= high:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.02)

    def head(self, account: str, tool: str, length: int, *, token: str | None = None) -> bytes:
        lines = [
            "POST /mcp HTTP/1.1",
            "Host: 127.0.0.1:1",
            f"Accept: {ACCEPT}",
            "Content-Type: application/json",
            f"Authorization: Bearer {token or self.built.issuer.mint(subject=account)}",
            f"MCP-Protocol-Version: {LEGACY}",
            f"Content-Length: {length}",
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    async def send(self, data: bytes) -> asyncio.StreamReader:
        """Open a connection and write to it; the reader of what comes back. What is not taken in stays unsent."""
        reader, writer = await asyncio.open_connection(*self.address, limit=64 * MIB)
        self.writers.append(writer)
        writer.write(data)
        return reader

    def leave(self) -> None:
        """Break all connections."""
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


@asynccontextmanager
async def place(
    folder: Path, server: StoreServer, *, endpoint: Introspection | None = None, **options: Any
) -> AsyncIterator[Place]:
    patient = {"connect_timeout": "60s"}  # a busy sidecar is late to see that it is connected
    options = {"limits": LIMITS, "policy": POLICY, "backend_settings": patient, **options}
    async with house(folder, server.url, **options) as built:
        if endpoint is not None:
            endpoint.issuer, endpoint.resource = built.issuer.url, "http://127.0.0.1:1/mcp"
            document = yaml.safe_load(built.config.read_text())
            document["issuers"][0]["introspection"] = endpoint.settings
            built.config.write_text(yaml.safe_dump(document))
        made = Place(built, await built.start())
        for _ in range(3):
            assert succeeded(await built.call(made.sidecar, "get_usage", account="warm"))
        made.begin()
        try:
            yield made
        finally:
            made.leave()


async def status_of(reader: asyncio.StreamReader) -> int:
    return int((await reader.readuntil(b"\r\n")).split()[1])


async def until_cut(reader: asyncio.StreamReader) -> None:
    """Wait for the end of a connection: its last byte, or a reset because the rest was not read."""
    with suppress(ConnectionError):
        await reader.read()


def call_of(tool: str, arguments: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%s","arguments":%s}}' % (
        tool.encode(),
        arguments,
    )


async def assert_others_are_served(here: Place) -> None:
    """Small calls of an account that holds nothing succeed."""
    for _ in range(5):
        assert succeeded(await here.built.call(here.sidecar, "get_usage", account="bystander"))


async def test_incomplete_bodies_do_not_exceed_the_budget(tmp_path: Path, store_server: StoreServer):
    async with place(tmp_path, store_server) as here:
        count, half = 240, 512 * 1024
        readers = [
            await here.send(here.head(f"account-{number % 24}", "get_usage", MIB) + b" " * half)
            for number in range(count)
        ]
        refused: list[int] = []

        async def watch(reader: asyncio.StreamReader) -> None:
            refused.append(await status_of(reader))

        watching = [asyncio.create_task(watch(reader)) for reader in readers]
        async with asyncio.timeout(240):
            while await here.held() < (count - len(refused)) * half:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.02)
        assert set(refused) == {503}
        assert len(refused) > count / 2
        await assert_others_are_served(here)
        assert here.grown() < MEMORY + SLACK + count * PER_CONNECTION
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        here.leave()
        await here.until_held(0, 0)
        await assert_others_are_served(here)


async def test_concurrent_answers_do_not_exceed_the_budget(tmp_path: Path, store_server: StoreServer):
    count, size = 12, 8 * MIB - 1024
    finish = asyncio.Event()
    offered = asyncio.Semaphore(0)

    async def behave(turn: Turn) -> None:
        body = json.dumps(turn.response({"result": {"content": [{"type": "text", "text": "x" * size}]}})).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            await turn.write(head.encode() + body[:-1])
            offered.release()
            await finish.wait()
            await turn.write(body[-1:])
        except ConnectionError:
            offered.release()
            raise

    async with place(tmp_path, store_server) as here:
        here.built.backend.on("search", behave)
        calls = [
            asyncio.create_task(here.built.call(here.sidecar, "search", account=f"account-{number}"))
            for number in range(count)
        ]
        async with asyncio.timeout(240):
            for _ in range(count):
                await offered.acquire()
        await assert_others_are_served(here)
        finish.set()
        replies = await asyncio.gather(*calls)
        codes = [reply.code if reply.status != 200 else "ok" for reply in replies]
        assert set(codes) == {"ok", "overloaded"}
        assert all(len(reply.body) > size for reply in replies if reply.status == 200)
        assert here.grown() < MEMORY + SLACK
        await here.until_held(0, 0)
        assert succeeded(await here.built.call(here.sidecar, "search", account="account-0"))


SHAPES: Final = {
    "empty lists": b"[]",
    "empty objects": b"{}",
    "numbers kept as sent": b"1e1",
    "small objects": b'{"a":1}',
    "numbers kept as sent, and objects": b'{"":{"":{}}},-0',
}


@pytest.mark.parametrize("item", list(SHAPES.values()), ids=list(SHAPES))
async def test_bodies_that_grow_in_memory_do_not_exceed_the_budget(
    tmp_path: Path, store_server: StoreServer, item: bytes
):
    """Each is kept for as long as its call takes, and the backend takes its time."""
    finish = asyncio.Event()
    reached: list[Turn] = []

    async def behave(turn: Turn) -> None:
        reached.append(turn)
        await finish.wait()
        await turn.result({"content": []})

    async with place(tmp_path, store_server) as here:
        here.built.backend.on("search", behave)
        values = b'{"a":[' + b",".join([item] * (100_000 // (len(item) + 1))) + b"]}"
        body = call_of("search", values)
        count = 100
        readers = [
            await here.send(here.head(f"account-{number}", "search", len(body)) + body) for number in range(count)
        ]
        refused: list[int] = []

        async def watch(reader: asyncio.StreamReader) -> int:
            status = await status_of(reader)
            if not finish.is_set():
                refused.append(status)
            return status

        watching = [asyncio.create_task(watch(reader)) for reader in readers]
        async with asyncio.timeout(240):
            while len(refused) + len(reached) < count:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.02)
        assert refused
        assert set(refused) == {503}
        assert reached
        await assert_others_are_served(here)
        assert here.grown() < MEMORY + SLACK + count * PER_CONNECTION
        finish.set()
        statuses = await asyncio.gather(*watching)
        assert statuses.count(200) == len(reached)
        await here.until_held(0, 0)


async def test_streams_that_are_not_read_do_not_exceed_the_budget(tmp_path: Path, store_server: StoreServer):
    """A client that stalls holds its backend back: what it has not read is counted, and little."""
    count, event = 40, 256 * 1024
    written = [0] * count
    number = iter(range(count))

    async def behave(turn: Turn) -> None:
        me = next(number)
        await turn.open_stream()
        notice = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * event}}
        while written[me] < 64 * MIB:
            await turn.event(notice)
            written[me] += event

    async with place(tmp_path, store_server, limits={**LIMITS, "response": "9MiB"}) as here:
        here.built.backend.on("search", behave)
        body = call_of("search", b"{}")
        for index in range(count):
            await here.send(here.head(f"account-{index}", "search", len(body)) + body)
        for writer in here.writers:
            cast(asyncio.Transport, writer.transport).pause_reading()
        before = [-1]
        async with asyncio.timeout(240):
            while written != before or not all(written):  # until nothing moves any more
                before = list(written)
                await assert_others_are_served(here)
                await asyncio.sleep(0.3)
        assert max(written) < 64 * MIB
        assert 0 < await here.held() <= MEMORY
        assert here.grown() < MEMORY + SLACK + count * PER_CONNECTION
        here.leave()
        await here.until_held(0, 0)


async def test_pending_introspections_do_not_hold_the_budget(
    tmp_path: Path, store_server: StoreServer, aiohttp_server: AiohttpServer
):
    """Their issuer is silent, so their bodies wait unread; together they have one account's share."""
    endpoint = await Introspection().serve(aiohttp_server)
    async with place(tmp_path, store_server, endpoint=endpoint) as here:
        here.built.backend.on("search", result({"content": []}))
        endpoint.hold.clear()
        count = 120
        readers = [
            await here.send(here.head("", "search", MIB, token=f"made-up-{number}") + b" " * MIB)
            for number in range(count)
        ]
        refused = 0

        async def watch(reader: asyncio.StreamReader) -> None:
            nonlocal refused
            assert await status_of(reader) == 503
            refused += 1

        watching = [asyncio.create_task(watch(reader)) for reader in readers]
        async with asyncio.timeout(240):
            while refused < count / 2:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.02)
            await here.until_held(1, MEMORY // 4)
        await assert_others_are_served(here)
        large = {"text": "x" * (MIB - 4096)}
        assert succeeded(await here.built.call(here.sidecar, "search", large, account="bystander"))
        assert here.grown() < MEMORY + SLACK + count * PER_CONNECTION
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        here.leave()
        await here.until_held(0, 0)
        endpoint.hold.set()


async def test_endless_heads_are_cut_off(tmp_path: Path, store_server: StoreServer):
    async with place(tmp_path, store_server) as here:
        count = 100
        line = b"X-%04d: " + b"x" * 15_000 + b"\r\n"
        endless = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:1\r\n" + b"".join(line % each for each in range(120))
        readers = [await here.send(endless) for _ in range(count)]
        async with asyncio.timeout(240):
            await asyncio.gather(*(until_cut(reader) for reader in readers))
        await assert_others_are_served(here)
        assert here.grown() < SLACK + count * PER_CONNECTION
        assert await here.held() == 0


async def test_one_byte_chunks_do_not_multiply_the_memory_of_an_answer(tmp_path: Path, store_server: StoreServer):
    async def behave(turn: Turn) -> None:
        body = json.dumps(turn.response({"result": {"content": [{"type": "text", "text": "x" * MIB}]}})).encode()
        await turn.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        await turn.write(chunks + b"0\r\n\r\n")

    async with place(tmp_path, store_server) as here:
        here.built.backend.on("search", behave)
        assert succeeded(await here.built.call(here.sidecar, "search"))
        assert here.grown() < SLACK
        await here.until_held(0, 0)


async def test_idle_connections_hold_no_answer(tmp_path: Path, store_server: StoreServer):
    count, size = 20, 4 * MIB

    async def behave(turn: Turn) -> None:
        await turn.result({"content": [{"type": "text", "text": "x" * size}]})

    async with place(tmp_path, store_server) as here:
        here.built.backend.on("search", behave)
        body = call_of("search", b"{}")
        for number in range(count):
            reader = await here.send(here.head(f"account-{number}", "search", len(body)) + body)
            assert await status_of(reader) == 200
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(size)
        await here.until_held(0, 0)
        assert here.grown() < SLACK + (2 + COPIES) * size


async def test_pipelined_requests_are_cut_off(tmp_path: Path, store_server: StoreServer):
    finish = asyncio.Event()
    async with place(tmp_path, store_server) as here:
        here.built.backend.on("search", after(finish, result({"content": []})))
        count = 60
        body = call_of("search", b"{}")
        behind = b"".join(here.head("a", "search", 60_000) + b" " * 60_000 for _ in range(30))
        heads = [here.head(f"account-{number}", "search", len(body)) for number in range(count)]
        readers = [await here.send(head + body) for head in heads]
        await wait_for(lambda: len(here.built.backend.received) == count)
        for writer in here.writers:
            writer.write(behind)
        async with asyncio.timeout(240):
            # The end of what can be read: a client that has nothing left to write learns of no more.
            await asyncio.gather(*(reader.read() for reader in readers), return_exceptions=True)
        assert here.grown() < SLACK + count * PER_CONNECTION
        finish.set()  # calls go on without their clients, to the tool's timeout if need be
        await here.until_held(0, 0)
        await assert_others_are_served(here)
