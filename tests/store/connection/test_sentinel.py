"""The primary that sentinels name: found through any of them, and left as soon as they name another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from sidecar.store.connection.sentinel import SentinelConnection
from sidecar.store.connection.store_connection import RejectedError, StoreError, UnansweredError, UnsentError
from sidecar.store.connection.store_url import parse_url
from tests.support.store import free_port, not_let_in, until
from tests.support.topology import SERVICE, SentinelServers, TcpServer, replicates

pytestmark = pytest.mark.timeout(300)
LONG = 60.0


@pytest.fixture
def group() -> Iterator[SentinelServers]:
    with SentinelServers() as made:
        yield made


async def arrived(connection: SentinelConnection, server: TcpServer) -> None:
    await until(lambda: connection.up and connection.address == server.address, LONG)


async def test_the_primary_is_found_through_any_sentinel_and_followed(group: SentinelServers):
    group.sentinels[0].pause()
    url = f"redis+sentinel://127.0.0.1:{free_port()},{group.url.partition('://')[2]}/2"
    connection = SentinelConnection(parse_url(url))
    await connection.start(LONG)
    assert connection.address == group.primary.address
    assert await connection.call("SET", "a", "1") == b"OK"
    assert b"db=2" in await connection.call("CLIENT", "INFO")
    await asyncio.to_thread(until_replicated, group)
    group.sentinels[0].resume()
    group.primary.kill()
    with pytest.raises(StoreError):
        await connection.call("SET", "a", "2")
    await arrived(connection, group.replica)
    assert await connection.call("GET", "a") == b"1"
    await connection.close()


def until_replicated(group: SentinelServers) -> None:
    while not replicates(group.replica, group.primary):
        pass


async def test_a_primary_that_lives_on_is_left_when_sentinels_name_another(group: SentinelServers):
    connection = SentinelConnection(parse_url(group.url))
    await connection.start(LONG)
    group.primary.pause()  # it is taken for dead, and its connections stay open
    lost = connection.send("SET", "lost", "1")
    await asyncio.to_thread(group.await_promotion)
    with pytest.raises((UnansweredError, UnsentError)):
        await lost
    group.primary.resume()
    await arrived(connection, group.replica)
    assert await connection.call("SET", "kept", "1") == b"OK"
    await connection.close()


async def test_a_sentinel_that_was_cut_off_does_not_lead_back(group: SentinelServers):
    cut_off = group.sentinels[0]
    cut_off.pause()
    await asyncio.to_thread(group.sentinels[1].ask, "SENTINEL", "FAILOVER", SERVICE)
    await asyncio.to_thread(group.await_promotion, *group.sentinels[1:])
    await until(lambda: group.primary.info("replication")["role"] == "slave", LONG)
    group.primary.ask("REPLICAOF", "NO", "ONE")  # as for clients that are partitioned with it
    cut_off.resume()
    connection = SentinelConnection(parse_url(group.url))
    await connection.start(LONG)
    assert connection.address == group.replica.address
    await connection.close()


async def test_without_a_reachable_sentinel_the_error_names_the_service(group: SentinelServers):
    wrong = SentinelConnection(parse_url(group.url.replace(f"/{SERVICE}", "/other")))
    await not_let_in(wrong, r"no sentinel names the primary of other: .*ERR No such master")
    await wrong.close()
    server = SentinelConnection(parse_url(f"redis+sentinel://127.0.0.1:{group.primary.port}/{SERVICE}"))
    await not_let_in(server, f"no sentinel names the primary of {SERVICE}: .*a primary")
    await server.close()


async def test_without_sentinels_the_primary_goes_on(group: SentinelServers):
    connection = SentinelConnection(parse_url(group.url))
    await connection.start(LONG)
    before = await connection.call("CLIENT", "ID")
    for each in group.sentinels:
        each.close()
    with pytest.raises(StoreError):
        await connection._sentinels.primary()
    assert await connection.call("CLIENT", "ID") == before
    await connection.close()


async def test_sentinels_have_credentials_of_their_own():
    lines = ["requirepass other", "user watch on >watch/% -@all +hello +ping +sentinel|master"]
    with SentinelServers(1, lines, "other") as group:
        group.primary.ask("CONFIG", "SET", "requirepass", "data")
        refused = SentinelConnection(parse_url(group.url))
        denied = await not_let_in(refused, "NOAUTH")
        await refused.close()
        url = group.url.replace("://", "://:data@") + "?sentinel_username=watch&sentinel_password=watch%2F%25"
        connection = SentinelConnection(parse_url(url))
        await connection.start(LONG)
        with pytest.raises(RejectedError):
            await connection.call("HGET", "only")
        assert "watch" not in denied
        await connection.close()


async def test_a_sentinel_that_answers_nonsense_does_not_silence_the_others(group: SentinelServers):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = b"*2\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n"
        with contextlib.suppress(OSError):
            while words := await reader.read(65536):
                writer.write(hello if b"HELLO" in words else b"+PONG\r\n" if b"PING" in words else b":1\r\n")
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as broken:
        port = broken.sockets[0].getsockname()[1]
        connection = SentinelConnection(parse_url(group.url.replace("://", f"://127.0.0.1:{port},")))
        await connection.start(LONG)
        assert connection.address == group.primary.address
        assert await connection._sentinels.primary() == group.primary.address
        await connection.close()
