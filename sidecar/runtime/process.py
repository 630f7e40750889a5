"""Process of `mcp-sidecar serve`: load, listen, handle signals."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop

from sidecar.config.documents.merging import DocumentError
from sidecar.observe.logs import Lines, install
from sidecar.proxy.admit import LEASE_MARGIN
from sidecar.proxy.listener.http_errors import UnsafeParserError
from sidecar.runtime.app import Sidecar
from sidecar.runtime.workers.supervisor import Supervisor, worker_count
from sidecar.workbench.loading import Loaded, load

COLLECTOR: Final = (50_000, 20, 100)
"""Thresholds of the garbage collector. By default it runs for every 700 objects and so traverses a body of small
values several times while the body is read: five times the cost of reading it."""


def serve(config: Path, lease_margin: float = LEASE_MARGIN) -> int:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the files again.

    Args:
        config: the config file.
        lease_margin: seconds that a hold outlives its call's timeout before another process may resolve it.

    Returns:
        The exit status: 0 after a graceful end, 1 when the sidecar could not serve.
    """
    try:
        loaded = load(config)
    except DocumentError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201 - before there is a log
        return 1
    gc.set_threshold(*COLLECTOR)
    lines = Lines(loaded.settings.log.level)
    install(lines)
    try:
        uvloop.run(_serve(config, loaded, lines, lease_margin))
    except (OSError, UnsafeParserError) as error:
        lines.event("listen_failed", "error", problem=str(error))
        return 1
    finally:
        lines.flush()
    return 0


async def _serve(config: Path, loaded: Loaded, lines: Lines, lease_margin: float) -> None:
    workers = worker_count(loaded.settings)
    if workers == 1:
        await _run(Sidecar(config, loaded, lines, lease_margin), lines)
    else:
        await _run(Supervisor(config, loaded, lines, workers, lease_margin), lines)


async def _run(running: Sidecar | Supervisor, lines: Lines) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running as sidecar:
        loop.add_signal_handler(signal.SIGHUP, _reloader(sidecar))
        await stop.wait()
        lines.event("stopping")
        again = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, again.set)
        await sidecar.await_endpoints(again)


def _reloader(sidecar: Sidecar | Supervisor) -> Callable[[], None]:
    """Make a handler that reloads once per signal."""
    running: set[asyncio.Task[bool]] = set()

    def start() -> None:
        task = asyncio.create_task(sidecar.reload())
        running.add(task)
        task.add_done_callback(running.discard)

    return start
