"""Whether this process can serve: what `/readyz` says, and the one line that each lack is worth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.proxy.upstream import Upstream, UpstreamError

PROBE_EVERY: Final = 1.0
"""Seconds between attempts to connect to a backend that has never been reached."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that serving needs.

    Attributes:
        lack: None while it is there; else what is wrong, without secrets.
    """

    name: str
    lack: str | None

    @property
    def ok(self) -> bool:
        """Whether it is there."""
        return self.lack is None


class Readiness:
    """All checks, and the watch that tells the log when one changes.

    Args:
        checks: the checks, asked anew each time.
        upstream: the backend, probed until one connect has succeeded.
        say: writes one line: the check's name, and its lack or None when it has recovered.
    """

    def __init__(
        self,
        checks: Callable[[], Sequence[Check]],
        upstream: Upstream,
        say: Callable[[str, str | None], None],
    ) -> None:
        self._checks = checks
        self._upstream = upstream
        self._say = say
        self._backend_error = "not connected yet"
        self._told: dict[str, bool] = {}
        self.stopping = False

    def now(self) -> tuple[Check, ...]:
        """Every check as it stands."""
        backend = Check("backend", None if self._upstream.connected else self._backend_error)
        checks = (*self._checks(), backend)
        return (*checks, Check("process", "stopping")) if self.stopping else checks

    @property
    def ready(self) -> bool:
        """Whether all of them pass."""
        return all(check.ok for check in self.now())

    async def watch(self) -> None:
        """Probe the backend until it was reached once, and log what is missing or back; never returns.

        Nothing is said in the first second: what is only just connecting is not missing.
        """
        while True:
            await self._probe()
            await asyncio.sleep(PROBE_EVERY)
            for check in self.now():
                if check.ok != self._told.get(check.name, True):
                    self._told[check.name] = check.ok
                    self._say(check.name, check.lack)

    async def _probe(self) -> None:
        if self._upstream.connected:
            return
        try:
            await self._upstream.probe()
        except UpstreamError as error:
            self._backend_error = error.log
