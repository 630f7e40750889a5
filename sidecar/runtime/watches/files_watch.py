"""Watch over config and policy on disk: they should load, and equal the settings and policy in force.

With `reload: watch` a valid change is reloaded once two checks have seen the same files: an editor, or a change of
several files, may be between its writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sidecar.config.documents.merging import DocumentError
from sidecar.config.files import FilesStamp, named_policies, stamp_of
from sidecar.config.settings.settings import Settings
from sidecar.observe.redact import cut
from sidecar.observe.repeats import Repeats
from sidecar.policy.rules import Policy
from sidecar.system.threads import LimitedThreads
from sidecar.workbench.loading import Loaded, load

CHECK_EVERY: Final = 2.0
"""Seconds between two checks of the files."""
HUNG_AFTER: Final = 10.0
"""Seconds after which files that cannot be read to their end count as invalid."""

_LINES: Final = 20  # problems of one version of the files that are logged
_RELOAD_INVALID_EVERY: Final = 15  # checks between two loads of invalid files: an unwatched file may be at fault
_HUNG: Final = "config and policy cannot be read: the file system does not answer"

Policies = Path | tuple[Path, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Outcome of one load.

    Attributes:
        loaded: settings and policy; None where something is wrong.
        problems: sentences for the log.
        policies: the path of the policy, if the config names it.
    """

    loaded: Loaded | None
    problems: tuple[str, ...] = ()
    policies: Policies | None = None


class FilesWatch:
    """Check the files every few seconds, and load them where they changed.

    Args:
        config: the config file.
        loaded: settings and policy from it.
        in_force: returns settings and policy in force.
        repeats: the log.
        reload: reloads files with this stamp; called once per stamp.

    Attributes:
        valid: True when the files on disk would load.
        differ: True when they differ from settings and policy in force.
    """

    def __init__(
        self,
        config: Path,
        loaded: Loaded,
        in_force: Callable[[], tuple[Settings, Policy]],
        repeats: Repeats,
        reload: Callable[[FilesStamp], Awaitable[object]],
    ) -> None:
        self._config = config
        self._in_force = in_force
        self._repeats = repeats
        self._reload = reload
        self._disk = LimitedThreads("files")
        self._policies: Policies = loaded.settings.policies
        self._stamp: FilesStamp | None = loaded.stamp
        self._doubtful: FilesStamp | None = None
        self._tried: FilesStamp | None = None  # files that a watched reload has read
        self._hung: asyncio.Future[Any] | None = None
        self._checks = 0
        self._reported: tuple[str, ...] = ()
        self.valid = True
        self.differ = False

    async def watch(self) -> None:
        """Check the files every few seconds, forever."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            await self.check()

    async def check(self) -> None:
        """Load the files if they changed; load invalid ones again after a while.

        Files are rarely written in one moment: files that do not load are checked once more before they count.
        """
        stamp = await self._read(partial(stamp_of, self._config, self._policies))
        if stamp is None:
            return
        self._checks += 1
        if stamp == self._stamp and (self.valid or self._checks % _RELOAD_INVALID_EVERY):
            await self._reload_settled(stamp)
            return
        outcome = await self._read(partial(_load, self._config))
        if outcome is None:
            return
        if outcome.loaded is None and stamp not in (self._doubtful, self._stamp):
            self._doubtful = stamp
            return
        self._stamp, self._doubtful = stamp, None
        if outcome.policies is not None and outcome.policies != self._policies:
            self._policies, self._stamp = outcome.policies, None
        if outcome.loaded is None:
            self.refused(outcome.problems)
        else:
            self.found(outcome.loaded)

    async def _reload_settled(self, stamp: FilesStamp) -> None:
        """Reload valid files that two checks have seen, where the settings in force say so."""
        settings, _ = self._in_force()
        if settings.reload == "watch" and self.valid and self.differ and stamp != self._tried:
            self._tried = stamp
            await self._reload(stamp)

    def found(self, loaded: Loaded) -> None:
        """Compare valid files with the settings and policy in force."""
        settings, policy = self._in_force()
        differ = loaded.settings != settings or loaded.policy.revision != policy.revision
        if not self.valid:
            self._repeats.event("files_valid", policy=loaded.policy.revision)
        if differ and not (self.valid and self.differ):
            self._repeats.event("files_differ", policy=loaded.policy.revision)
        self.valid, self.differ, self._reported = True, differ, ()

    def reloaded(self, loaded: Loaded) -> None:
        """Note files that are in force now."""
        self._policies, self._stamp, self._doubtful = loaded.settings.policies, loaded.stamp, None
        self.valid, self.differ, self._reported = True, False, ()

    def refused(self, problems: Sequence[str], *, logged: bool = False) -> None:
        """Note files that cannot be loaded, and log the reasons unless they are logged already.

        Args:
            problems: the reasons.
            logged: True when they are logged already.
        """
        found = tuple(cut(problem, 1000) for problem in problems)
        self.valid, self.differ = False, True
        if found == self._reported:
            return
        self._reported = found
        for problem in () if logged else found[:_LINES]:
            # Problems name files, lines and keys, and never hold a value.
            self._repeats.event("files_invalid", "error", plain=True, problem=problem)

    async def _read(self, job: Callable[[], T]) -> T | None:
        """Run a job in the thread for files; None while the thread hangs, which is reported."""
        if self._hung is not None and not self._hung.done():
            return None
        future = asyncio.ensure_future(self._disk.run(job))
        done, _ = await asyncio.wait([future], timeout=HUNG_AFTER)
        if not done:
            self._hung = future
            self._stamp = None  # files that are read later are loaded again
            self.refused([_HUNG])
            return None
        return future.result()


def _load(config: Path) -> _Outcome:
    try:
        loaded = load(config)
    except DocumentError as error:
        return _Outcome(None, tuple(str(problem) for problem in error.problems), named_policies(config))
    return _Outcome(loaded, policies=loaded.settings.policies)
