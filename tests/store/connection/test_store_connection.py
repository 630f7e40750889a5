"""The connection says truly what became of a command, in time, whatever the server does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from sidecar.store.connection.store_connection import (
    RejectedError,
    StoreConnection,
    StoreError,
    UnansweredError,
    UnsentError,
)
from sidecar.store.connection.store_url import StoreLocation, parse_url
from tests.support.store import FaultProxy, StoreServer, free_port, not_let_in, until


@pytest.fixture
async def through(fault_proxy: FaultProxy) -> AsyncIterator[StoreConnection]:
    connection = StoreConnection(parse_url(fault_proxy.url))
    await connection.start()
    yield connection
    await connection.close()


async def test_replies_come_in_the_order_of_the_commands(through: StoreConnection):
    replies = await asyncio.gather(*(through.send("INCR", "n") for _ in range(500)))
    assert replies == list(range(1, 501))


async def test_an_error_reply_is_the_error_of_its_command_alone(through: StoreConnection):
    first, wrong, last = through.send("SET", "a", "1"), through.send("LPUSH", "a", "x"), through.send("GET", "a")
    with pytest.raises(RejectedError) as caught:
        await wrong
    assert caught.value.code == "WRONGTYPE"
    assert (await first, await last) == (b"OK", b"1")


async def test_a_command_whose_caller_left_keeps_the_order(through: StoreConnection, fault_proxy: FaultProxy):
    fault_proxy.delay = 0.05
    left = asyncio.create_task(through.call("INCR", "n"))
    await asyncio.sleep(0)
    left.cancel()
    assert await through.call("INCR", "n") == 2


async def test_a_lost_reply_is_unanswered_and_the_command_ran_once(
    through: StoreConnection, fault_proxy: FaultProxy, own_server: StoreServer
):
    fault_proxy.cut_on_reply = True
    with pytest.raises(UnansweredError):
        await through.call("INCR", "n")
    await through.start()
    assert own_server.client().get("n") == "1"


async def test_a_command_given_while_the_connection_returns_waits_for_it(
    through: StoreConnection, fault_proxy: FaultProxy
):
    fault_proxy.cut()
    await until(lambda: not through.up)
    assert await through.call("PING") == b"PONG"


async def test_a_dropped_reply_fails_everything_behind_it(through: StoreConnection, fault_proxy: FaultProxy):
    fault_proxy.drop_replies = True
    outcomes = await asyncio.gather(*(through.call("INCR", "n") for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnansweredError] * 5


async def test_a_stopped_server_refuses_within_two_seconds_every_time(
    through: StoreConnection, own_server: StoreServer
):
    own_server.pause()
    try:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            started = time.monotonic()
            with pytest.raises(StoreError):
                await through.call("PING")
            assert time.monotonic() - started < 20  # far from 2 on a busy machine, but for ever is further
            await asyncio.sleep(0.05)
    finally:
        own_server.resume()
    await through.start()
    assert await through.call("PING") == b"PONG"


async def test_a_killed_server_refuses_at_once_and_is_found_again(through: StoreConnection, own_server: StoreServer):
    assert await through.call("SET", "kept", "1") == b"OK"
    own_server.kill()
    await until(lambda: not through.up)
    with pytest.raises(UnsentError):
        await through.call("GET", "kept")
    own_server.start()
    await through.start()
    assert await through.call("GET", "kept") == b"1"


async def test_a_stall_of_this_process_is_not_blamed_on_the_store(through: StoreConnection):
    pending = through.send("PING")
    await asyncio.sleep(0)
    time.sleep(1.2)  # noqa: ASYNC251 - the stall
    assert await pending == b"PONG"
    assert through.up


async def test_a_loading_server_is_not_used():
    server = StoreServer(durable=True).start()
    try:
        with server.client() as client:
            pipeline = client.pipeline(transaction=False)
            for n in range(10_000):
                pipeline.set(f"k{n}", "x")
            pipeline.execute()
        server.kill()
        server.options += ("--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024")
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        connection = StoreConnection(parse_url(server.url))
        with pytest.raises(UnsentError):
            await connection.start(within=1)
        assert not connection.up
        await starting
        await connection.start(within=60)
        await connection.close()
    finally:
        server.close()


async def test_a_replica_is_refused(own_server: StoreServer):
    with own_server.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
    connection = StoreConnection(parse_url(own_server.url))
    await not_let_in(connection, "replica")
    await connection.close()


async def test_a_primary_that_becomes_a_replica_is_left(own_server: StoreServer):
    connection = StoreConnection(parse_url(own_server.url))
    await connection.start()
    with own_server.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
    with pytest.raises(RejectedError, match="READONLY"):
        await connection.call("SET", "a", "1")
    await until(lambda: not connection.up)
    with pytest.raises(UnsentError):
        await connection.call("SET", "a", "1")
    await connection.close()


async def test_passwords_and_databases_are_used_and_a_wrong_password_is_not_repeated():
    port = free_port()
    server = StoreServer(options=("--requirepass", "s3cret/%", "--port", str(port))).start()
    try:
        good = StoreConnection(parse_url(f"redis://:s3cret%2F%25@127.0.0.1:{port}/3"))
        await good.start()
        assert b"db=3" in await good.call("CLIENT", "INFO")
        await good.close()
        bad = StoreConnection(parse_url(f"redis://:wr0ng@127.0.0.1:{port}"))
        assert "wr0ng" not in await not_let_in(bad, "WRONGPASS")
        await bad.close()
    finally:
        server.close()


async def test_closing_leaves_no_answer_open(own_server: StoreServer):
    connection = StoreConnection(parse_url(own_server.url))
    await connection.start()
    own_server.pause()
    pending = connection.send("PING")
    await connection.close()
    with pytest.raises(UnansweredError):
        await pending
    own_server.resume()


async def _attempts(connection: StoreConnection) -> None:
    """Wait until several attempts have failed; then the connection must be one that can be closed."""
    connection.open()
    await until(lambda: connection.failed_attempts > 2)
    assert not connection.up
    assert connection.error
    await connection.close()


@pytest.mark.parametrize(
    "nonsense", [b":1\r\n", b"$-1\r\n", b"+OK\r\n", b"*2\r\n*0\r\n*0\r\n", b"HTTP/1.1 400 No\r\n\r\n"]
)
async def test_attempts_go_on_whatever_a_server_answers(nonsense: bytes):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                writer.write(nonsense)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        await _attempts(StoreConnection(parse_url(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")))


@pytest.mark.parametrize("address", [("a..b", 6379), ("127.0.0.1", 99_999)])
async def test_attempts_go_on_whatever_address_was_announced(address: tuple[str, int]):
    await _attempts(StoreConnection(StoreLocation(addresses=(address,))))


async def test_attempts_continue_after_a_fault_of_prepare(own_server: StoreServer):
    faults = [RuntimeError("s3cret"), RuntimeError("s3cret")]

    async def prepare(_: object) -> None:
        if faults:
            raise faults.pop()

    connection = StoreConnection(parse_url(own_server.url), prepare=prepare)
    connection.open()
    await until(lambda: connection.failed_attempts == 1)
    assert connection.error is not None
    assert connection.error.startswith("RuntimeError at ")
    await connection.start()
    assert await connection.call("PING") == b"PONG"
    await connection.close()


async def test_a_server_that_turns_everybody_away_says_why():
    """It speaks first, and closes: its words may be there before anything was asked."""
    port = free_port()
    server = StoreServer(options=("--port", str(port), "--maxclients", "1")).start()
    try:
        with server.client() as client:
            client.ping()
            connection = StoreConnection(parse_url(f"redis://127.0.0.1:{port}"))
            connection.open()
            await until(lambda: connection.failed_attempts > 3)
            assert connection.error == "ERR max number of clients reached"
            assert isinstance(connection.fault, RejectedError)
        await connection.start()
        await connection.close()
    finally:
        server.close()
