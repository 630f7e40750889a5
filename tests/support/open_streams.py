"""Open streams: without a client, and those of a sidecar that its clients read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sidecar.model import Caller
from sidecar.proxy.relay.streams import OpenStream, OpenStreams
from tests.support.rig import Rig
from tests.support.store import until


@contextmanager
def opened_stream(
    streams: OpenStreams, caller: Caller, limit: int, expires_in: float, disconnect: Callable[[], None]
) -> Iterator[OpenStream]:
    """Register a stream until the block ends."""
    stream = streams.open(caller, limit, expires_in, disconnect)
    try:
        yield stream
    finally:
        streams.close(stream)


async def relayed(rig: Rig, count: int = 1) -> None:
    """Wait until so many open streams have the heads of their answers; clients open theirs in parallel to calls."""
    streams = rig.sidecar.pipeline.streams
    await until(lambda: sum(each.lists is not None for _, some in streams.by_account() for each in some) == count)
