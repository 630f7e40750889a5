"""Messages between supervisor and worker."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from sidecar.runtime.workers import channel
from sidecar.runtime.workers.channel import MAX_UNSENT, Channel, ChannelError
from tests.support.store import until


async def pair(**left: Any) -> tuple[Channel, Channel, list[dict[str, Any]]]:
    """Both ends, and what the second has received."""
    received: list[dict[str, Any]] = []
    one, other = socket.socketpair()
    first, second = Channel(lambda _: None, **left), Channel(received.append)
    await first.open(one)
    await second.open(other)
    return first, second, received


async def test_messages_arrive_in_order_whatever_their_size():
    first, second, received = await pair()
    for number in range(20):
        assert first.send({"kind": "x", "number": number, "text": "é" * (number * 40_000)})
    await until(lambda: len(received) == 20)
    assert [each["number"] for each in received] == list(range(20))
    assert len(received[-1]["text"]) == 19 * 40_000
    await asyncio.gather(first.close(), second.close())


async def test_an_answer_belongs_to_its_request():
    first, second, received = await pair()
    asked = [asyncio.create_task(first.ask("add", 5, value=value)) for value in range(3)]
    await until(lambda: len(received) == 3)
    for request in reversed(received):
        second.answer(request, value=request["value"] + 1)
    assert [(await each)["value"] for each in asked] == [1, 2, 3]
    await asyncio.gather(first.close(), second.close())


async def test_a_peer_that_ends_fails_what_is_asked_and_is_reported():
    ended = asyncio.Event()
    first, second, received = await pair(lost=ended.set)
    asked = asyncio.create_task(first.ask("wait", 60))
    await until(lambda: len(received) == 1)
    await second.close()
    with pytest.raises(ChannelError):
        await asked
    await ended.wait()
    assert not first.send({"kind": "x"})
    with pytest.raises(ChannelError):
        await first.ask("wait", 1)


async def test_a_peer_that_does_not_answer_is_an_error():
    first, second, _ = await pair()
    with pytest.raises(ChannelError):
        await first.ask("wait", 0.01)
    await asyncio.gather(first.close(), second.close())


async def test_metrics_answer_a_scrape_and_are_not_decoded():
    metrics: list[bytes] = []
    first, second, received = await pair(metrics=metrics.append)
    asked = asyncio.create_task(first.ask("scrape", 5))
    await until(lambda: len(received) == 1)
    second.send_metrics(b'["no JSON', received[0]["ask"])
    await asked
    second.send_metrics(b"[]")
    await until(lambda: len(metrics) == 2)
    assert metrics == [b'["no JSON', b"[]"]
    await asyncio.gather(first.close(), second.close())


async def test_what_a_peer_does_not_read_is_bounded():
    one, other = socket.socketpair()
    first = Channel(lambda _: None)
    await first.open(one)
    text, sent = "x" * (1 << 20), 0
    while first.send({"kind": "x", "text": text}):
        sent += 1
        assert sent <= 2 * (MAX_UNSENT >> 20)
    assert first.unsent <= channel.MAX_UNSENT
    other.close()
    await first.close()
