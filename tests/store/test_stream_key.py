"""Stream key: one for all sidecars on a store, written once; a corrupt one is refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.store.commands import scripts
from sidecar.store.store import Store
from sidecar.store.stream_key import STREAM_KEY_KEY, StreamKey
from tests.support.store import StoreServer


@pytest.fixture
async def store(store_server: StoreServer) -> AsyncIterator[Store]:
    made = Store(store_server.url, scripts)
    await made.start()
    yield made
    await made.close()


async def test_the_first_process_writes_the_key_and_all_others_read_it(store: Store, store_server: StoreServer):
    one, other = StreamKey(store), StreamKey(store)
    assert (one.current, other.current) == (None, None)
    found = await one.read()
    assert re.fullmatch("[0-9a-f]{64}", found)
    assert await other.read() == found == other.current == store_server.client().get(STREAM_KEY_KEY)


async def test_two_stores_have_two_keys(store: Store, store_server: StoreServer):
    found = await StreamKey(store).read()
    store_server.client().flushall()
    assert await StreamKey(store).read() != found


async def test_a_lost_key_is_written_again(store: Store, store_server: StoreServer):
    key, stranger = StreamKey(store), StreamKey(store)
    found = await key.read()
    store_server.client().delete(STREAM_KEY_KEY)
    assert await key.read() == found
    assert await stranger.read() == found


async def test_a_key_that_was_replaced_is_followed(store: Store, store_server: StoreServer):
    key = StreamKey(store)
    await key.read()
    store_server.client().set(STREAM_KEY_KEY, "ab" * 32)
    assert await key.read() == key.current == "ab" * 32


@pytest.mark.parametrize(
    "edit",
    [
        lambda client: client.set(STREAM_KEY_KEY, ""),
        lambda client: client.set(STREAM_KEY_KEY, "x"),
        lambda client: client.set(STREAM_KEY_KEY, "AB" * 32),
        lambda client: client.set(STREAM_KEY_KEY, "ab" * 33),
        lambda client: client.rpush(STREAM_KEY_KEY, "ab" * 32),
    ],
)
async def test_a_corrupt_key_is_refused_and_stays(store: Store, store_server: StoreServer, edit: Callable[[Any], Any]):
    client = store_server.client()
    edit(client)
    before: Any = client.dump(STREAM_KEY_KEY)
    with pytest.raises(Refusal) as caught:
        await StreamKey(store).read()
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert "mcp:stream-key" in str(caught.value.log)
    assert client.dump(STREAM_KEY_KEY) == before


async def test_the_key_is_written_when_memory_is_short(store: Store, store_server: StoreServer):
    client = store_server.client()
    client.config_set("maxmemory", 1)
    try:
        assert await StreamKey(store).read()
    finally:
        client.config_set("maxmemory", 0)
