"""Open streams without a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sidecar.model import Caller
from sidecar.proxy.relay.streams import OpenStream, OpenStreams


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
