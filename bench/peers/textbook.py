"""The textbook proxy: aiohttp on both sides, no checks (see bench/textbook.py)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.metadata import version

from bench.machine import PROXY_CORE, free_port, started
from bench.peers.peer import Peer, Running, Site


@contextlib.contextmanager
def _run(site: Site) -> Iterator[Running]:
    port = free_port()
    command = [sys.executable, "-m", "bench.textbook", str(port), site.backend_url]
    with started(command, port, core=PROXY_CORE) as one:
        yield Running(port, (one.pid,), version=f"aiohttp {version('aiohttp')}")


TEXTBOOK = Peer("textbook", "textbook aiohttp proxy", "textbook aiohttp proxy", "nothing", _run)
