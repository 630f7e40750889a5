"""`mcp-sidecar serve`: load, listen, obey signals."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from sidecar.config.documents import DocumentError
from sidecar.observe.logs import Lines, install
from sidecar.proxy.app import Sidecar
from sidecar.proxy.gates import LEASE_MARGIN
from sidecar.proxy.server import UnsafeParserError
from sidecar.workbench.load import Loaded, load


def serve(config: Path, lease_margin: float = LEASE_MARGIN) -> int:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the files again.

    Args:
        config: the config file.
        lease_margin: seconds a hold outlives its call's timeout before others may resolve it.

    Returns:
        The exit status: 0 after a graceful end, 1 when there was nothing that could be served.
    """
    try:
        loaded = load(config)
    except DocumentError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201 - before there is a log
        return 1
    lines = Lines(loaded.settings.log.level)
    install(lines)
    try:
        uvloop.run(_run(config, loaded, lines, lease_margin))
    except (OSError, UnsafeParserError) as error:
        lines.event("cannot_listen", "error", problem=str(error))
        return 1
    return 0


async def _run(config: Path, loaded: Loaded, lines: Lines, lease_margin: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Sidecar(config, loaded, lines, lease_margin) as sidecar:
        loop.add_signal_handler(signal.SIGHUP, _reloader(sidecar))
        await stop.wait()
        lines.event("stopping")


def _reloader(sidecar: Sidecar) -> Callable[[], None]:
    """Reload once per signal, one after the other: two at a time could leave the older files in force."""
    lock = asyncio.Lock()
    running: set[asyncio.Task[None]] = set()

    async def once() -> None:
        async with lock:
            await sidecar.reload()

    def start() -> None:
        task = asyncio.create_task(once())
        running.add(task)
        task.add_done_callback(running.discard)

    return start
