"""Process of `mcp-sidecar serve`: load, listen, handle signals."""

from __future__ import annotations

import asyncio
import gc
import os
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
from sidecar.system.service_manager import ServiceManager
from sidecar.workbench.loading import Loaded, load

COLLECTOR: Final = (50_000, 20, 100)
"""Thresholds of the garbage collector. By default it runs for every 700 objects and so traverses a body of small
values several times while the body is read: five times the cost of reading it."""
_SERVING: Final = "Serving; /readyz has the state of its dependencies."
_REFUSED: Final = "Serving by the files of before: the last reload was refused, see reload_failed in the log."


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
        uvloop.run(_run(config, loaded, lines, lease_margin))
    except (OSError, UnsafeParserError) as error:
        lines.event("listen_failed", "error", problem=str(error))
        return 1
    finally:
        lines.flush()
    return 0


async def _run(config: Path, loaded: Loaded, lines: Lines, lease_margin: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    manager = ServiceManager.of(os.environ)
    async with manager.watched(), Sidecar(config, loaded, lines, lease_margin) as sidecar:
        loop.add_signal_handler(signal.SIGHUP, _reloader(sidecar, manager))
        await manager.ready(_SERVING)
        await stop.wait()
        lines.event("stopping")
        await manager.stopping()


def _reloader(sidecar: Sidecar, manager: ServiceManager) -> Callable[[], None]:
    """Make a handler that reloads once per signal."""
    running: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        await manager.reloading()
        done = await sidecar.reload()
        await manager.ready(_SERVING if done else _REFUSED)

    def start() -> None:
        task = asyncio.create_task(reload())
        running.add(task)
        task.add_done_callback(running.discard)

    return start
