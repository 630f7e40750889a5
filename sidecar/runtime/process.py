"""Process of `mcp-sidecar serve`: load, listen, handle signals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import uvloop

from sidecar.config.documents.merging import DocumentError, Problem
from sidecar.config.files import read_config
from sidecar.config.settings.observation_settings import Log
from sidecar.observe.formats.palette import is_terminal
from sidecar.observe.logs import FORMATS, Lines, install
from sidecar.observe.redact import cut
from sidecar.proxy.admit import LEASE_MARGIN
from sidecar.proxy.listener.http_errors import UnsafeParserError
from sidecar.runtime.app import Sidecar
from sidecar.runtime.workers.supervisor import Supervisor, worker_count
from sidecar.system.service_manager import ServiceManager
from sidecar.workbench.loading import Loaded, load

COLLECTOR: Final = (50_000, 20, 100)
"""Thresholds of the garbage collector. By default it runs for every 700 objects and so traverses a body of small
values several times while the body is read: five times the cost of reading it."""
_SERVING: Final = "Serving; /readyz has the state of its dependencies."
_REFUSED: Final = "Serving by the files of before: the last reload was refused, see reload_failed in the log."
_STDERR: Final = 2


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
        _report(config, error.problems)
        return 1
    gc.set_threshold(*COLLECTOR)
    lines = Lines.of(loaded.settings.log)
    install(lines)
    try:
        uvloop.run(_serve(config, loaded, lines, lease_margin))
    except (OSError, UnsafeParserError) as error:
        lines.event("listen_failed", "error", problem=str(error))
        return 1
    finally:
        lines.flush()
    return 0


def _report(config: Path, problems: Iterable[Problem]) -> None:
    """Write why files cannot be served to standard error, in the format of the log; for people on a terminal."""
    lines = Lines(fd=_STDERR, format="console" if is_terminal(_STDERR) else _configured_format(config))
    for problem in problems:
        sys.stderr.write(lines.render("error", "files_invalid", {"problem": cut(str(problem), 1000)}).decode())


def _configured_format(config: Path) -> str:
    """Return `log.format` of a config that may be invalid; its default where that cannot be read."""
    with contextlib.suppress(DocumentError):
        log = read_config(config).value.get("log")
        found = log.get("format") if isinstance(log, dict) else None
        if found in FORMATS:
            return str(found)
    return Log().format


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
    manager = ServiceManager.of(os.environ)
    async with manager.watched(), running as sidecar:
        loop.add_signal_handler(signal.SIGHUP, _reloader(sidecar, manager))
        await manager.ready(_SERVING)
        await stop.wait()
        lines.event("stopping")
        await manager.stopping()
        again = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, again.set)
        await sidecar.await_endpoints(again)


def _reloader(sidecar: Sidecar | Supervisor, manager: ServiceManager) -> Callable[[], None]:
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
