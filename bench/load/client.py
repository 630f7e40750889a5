"""A client that sends prepared requests: `python -m bench.load.client JSON`; prints what wrk.lua prints."""

from __future__ import annotations

import asyncio
import collections
import json
import sys
import time
from pathlib import Path
from typing import Any, cast

import httptools
import uvloop


class _Load:
    """The requests that are left, and what was measured.

    Args:
        requests: sent in turn.
        calls: how many to send; 0 until the time is over.
        pause: milliseconds before each.
    """

    def __init__(self, requests: list[bytes], calls: int, pause: int) -> None:
        self.requests, self.left, self.pause = requests, calls or sys.maxsize, pause
        self.sent = self.answered = self.refused = self.broken = 0
        self.latency: collections.Counter[int] = collections.Counter()
        self.over = asyncio.get_running_loop().create_future()

    def next(self) -> bytes | None:
        """Return the next request, or None when enough were sent."""
        if self.sent >= self.left or self.over.done():
            return None
        self.sent += 1
        return self.requests[(self.sent - 1) % len(self.requests)]

    def ended(self, status: int, seconds: float) -> None:
        """Note an answer."""
        self.answered += 1
        self.refused += status >= 400
        self.latency[round(seconds * 1e6)] += 1
        if self.answered >= self.left:
            self.end()

    def end(self) -> None:
        """Send no more."""
        if not self.over.done():
            self.over.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._began = 0.0
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own does not inherit from it
        self._ask()

    def _ask(self) -> None:
        if self._load.pause:
            asyncio.get_running_loop().call_later(self._load.pause / 1000, self._send)
        else:
            self._send()

    def _send(self) -> None:
        request = self._load.next()
        if request is not None and not self._transport.is_closing():
            self._began = time.perf_counter()
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Note the answer and go on."""
        self._load.ended(self._parser.get_status_code(), time.perf_counter() - self._began)
        if self._parser.should_keep_alive():
            self._parser = httptools.HttpResponseParser(self)
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._load.over.done() and self._load.left < sys.maxsize:
            self._load.broken += 1
            self._load.end()


async def _run(given: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    requests = [(Path(given["folder"]) / str(number + 1)).read_bytes() for number in range(given["count"])]
    load = _Load(requests, int(given.get("calls", 0)), given["pause"])
    if "seconds" in given:
        loop.call_later(given["seconds"], load.end)
    began = time.perf_counter()
    for _ in range(given["connections"]):
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", given["port"])
    await load.over
    found = {
        "calls": load.answered,
        "seconds": time.perf_counter() - began,
        "refused": load.refused,
        "broken": load.broken,
        "latency": sorted(load.latency.items()),
    }
    print("RESULT", json.dumps(found))


if __name__ == "__main__":
    uvloop.run(_run(json.loads(sys.argv[1])))
