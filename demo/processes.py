"""Processes of the demo: each in its own process group, with its output in a file, and always ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

_CHECKOUT: Final = Path(__file__).parents[1]
PATIENCE: Final = 60.0
"""Seconds to wait for immediate effects on a busy machine."""

T = TypeVar("T")


class ConditionNotMetError(Exception):
    """A condition was not met in time."""


async def until(
    what: str, look: Callable[[], Awaitable[T | None]], patience: float = PATIENCE, every: float = 0.05
) -> T:
    """Poll at intervals of `every` seconds until there is a value, and return it.

    Raises:
        ConditionNotMetError: there was none within `patience` seconds.
    """
    end = time.monotonic() + patience
    while True:
        seen = await look()
        if seen is not None and seen is not False:
            return seen
        if time.monotonic() > end:
            raise ConditionNotMetError(f"{what}: not within {patience:.0f} seconds")
        await asyncio.sleep(every)


class Process:
    """One Python module as a process.

    Args:
        module: the module that `python -m` runs.
        folder: its working directory, with its output in `<name>.log` and `<name>.err`.
        name: for files and messages.
    """

    def __init__(self, module: str, folder: Path, name: str) -> None:
        self._module = module
        self._folder = folder
        self.name = name
        self.log = folder / f"{name}.log"
        self.errors = folder / f"{name}.err"
        self._child: subprocess.Popen[bytes] | None = None
        self._read = 0

    @property
    def pid(self) -> int:
        """Return the id of the running process."""
        if self._child is None:
            raise ConditionNotMetError(f"the {self.name} is not running")
        return self._child.pid

    def start(self, arguments: Sequence[str]) -> None:
        """Start it; the output of an earlier process stays in the file and is skipped."""
        self._read = len(self._text())
        with self.log.open("ab") as out, self.errors.open("ab") as err:
            # Its own group: Ctrl-C at the terminal is for the story, which then ends everything in order.
            self._child = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", self._module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": str(_CHECKOUT)},  # the demo is not installed
                start_new_session=True,
            )

    async def line(self, holds: str) -> str:
        """Return the first output line of the running process that contains a text.

        Raises:
            ConditionNotMetError: it ended, or did not print such a line in time; the message has its last output.
        """

        async def look() -> str | None:
            written = self._text()[self._read :].splitlines(keepends=True)
            found = [line for line in written if holds in line and line.endswith("\n")]
            if not found and self._child is not None and self._child.poll() is not None:
                raise ConditionNotMetError(f"the {self.name} ended: {self.last_words()}")
            return found[0].strip() if found else None

        return await until(f"the {self.name} starts", look)

    def lines(self) -> list[str]:
        """Return everything that it has written on stdout."""
        return self._text().splitlines()

    def last_words(self) -> str:
        """Return its last lines on stderr, else on stdout."""
        said = [*self._text().splitlines()[-2:], *self.errors.read_text(errors="replace").splitlines()[-3:]]
        return "\n".join(said) or "it printed nothing"

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._child is not None:
            os.kill(self.pid, signal.SIGKILL)
            self._child.wait()
            self._child = None

    def end(self, patience: float = 10.0) -> None:
        """Send SIGTERM to its group, then SIGKILL; return when it has ended."""
        child, self._child = self._child, None
        if child is None:
            return
        for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, None)):
            if child.poll() is None:
                os.killpg(child.pid, number)
            try:
                child.wait(wait)
            except subprocess.TimeoutExpired:
                continue
            return

    def _text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def free_port() -> int:
    """Return an unused port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
