"""Notifications to the service manager that started the process: sd_notify(3), without its library.

systemd names a datagram socket in `NOTIFY_SOCKET`. Without that variable every notification does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Final, Self

NOTIFY_WITHIN: Final = 1.0
"""Seconds for one notification; a manager that does not read delays nothing for longer."""
_BEATS: Final = 2  # notifications in one watchdog interval; sd_watchdog_enabled(3) recommends half of it


class ServiceManager:
    """Connection to the service manager.

    Args:
        address: of its socket: a path, or `@name` in the abstract namespace; None where there is no manager.
        watchdog: seconds without a notification after which the manager kills the process; None: it does not.
    """

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        self._address = address
        self._watchdog = watchdog if address else None

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Self:
        """Read the manager's variables, and remove them: processes started later must not speak for this one."""
        address = environment.pop("NOTIFY_SOCKET", "")
        interval = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", str(os.getpid()))
        watched = interval.isdecimal() and int(interval) > 0 and pid == str(os.getpid())
        return cls(address if address.startswith(("/", "@")) else None, int(interval) / 1e6 if watched else None)

    async def ready(self, status: str) -> None:
        """Report that the process serves, after a start or a reload.

        Args:
            status: one line for `systemctl status`.
        """
        await self._notify("READY=1", f"STATUS={status}")

    async def reloading(self) -> None:
        """Report that a reload begins; `ready` ends it."""
        await self._notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    async def stopping(self) -> None:
        """Report that the process finishes what is in flight, and ends."""
        await self._notify("STOPPING=1", "STATUS=Finishing the calls in flight.")

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Notify the manager's watchdog while the context is open, if there is one: the event loop runs."""
        beating = None if self._watchdog is None else asyncio.create_task(self._beat(self._watchdog / _BEATS))
        try:
            yield
        finally:
            if beating is not None:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self, pause: float) -> None:
        while True:
            await self._notify("WATCHDOG=1")
            await asyncio.sleep(pause)

    async def _notify(self, *lines: str) -> None:
        """Send one datagram; a manager that is unreachable is no reason to stop serving."""
        if self._address is None:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        # A socket for each: the manager may have replaced its own.
        with contextlib.suppress(OSError, TimeoutError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            sending.connect(name)
            async with asyncio.timeout(NOTIFY_WITHIN):
                await asyncio.get_running_loop().sock_sendall(sending, "\n".join(lines).encode())
