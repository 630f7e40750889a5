"""Reload of config and policy: a new snapshot is built aside, then put in force with one assignment."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from sidecar.config.documents.merging import DocumentError
from sidecar.config.files import FilesStamp
from sidecar.config.settings.addresses import Address
from sidecar.config.settings.settings import Settings
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.opaque.introspection_endpoint import IntrospectionOutcome
from sidecar.observe.logs import Lines, fault_place
from sidecar.observe.metrics import Metrics
from sidecar.observe.redact import cut
from sidecar.policy.comparison.declared_changes import bounded, policy_changes
from sidecar.policy.comparison.weakening import weakenings
from sidecar.policy.rules import Policy
from sidecar.policy.shadow_codes import shadow_codes
from sidecar.proxy.backend.pool import BackendPool
from sidecar.proxy.listener.accepting.acceptors import Listeners
from sidecar.proxy.pipeline import Pipeline
from sidecar.proxy.relay.streams import StreamEnding
from sidecar.proxy.snapshot import Snapshot
from sidecar.runtime.admin_api_listener import AdminApiListener
from sidecar.runtime.control.control_socket import ControlSocket
from sidecar.runtime.control.reload_answer import ReloadAnswer, ReloadCause, settings_changes
from sidecar.runtime.watches.backend_watch import BackendWatch
from sidecar.runtime.watches.files_watch import FilesWatch
from sidecar.runtime.watches.tls_reload import Certificates, backend_pool
from sidecar.system.threads import LimitedThreads
from sidecar.workbench.loading import Loaded, load

RELOAD_WITHIN: Final = 60.0
"""Seconds that a reload waits for the files; a mount that does not answer ends it."""

_FIXED: Final = ("admin", "control", "store", "tracing", "workers")
_POOLED: Final = ("url", "headers", "connect_timeout", "max_connection_age")
_HELD: Final = "apply it by SIGHUP or `mcp-sidecar reload` if this is intended"


class Reloader:
    """Reload of the files that the sidecar serves by.

    Args:
        config: the config file.
        in_force: returns settings and policy in force.
        apply: puts valid files in force; returns problems if it has changed nothing.
        files: is notified of the files in force.
        admin_api: gets the credentials of valid files.
        metrics: count reloads.
        lines: the log.

    Attributes:
        within: seconds; see `RELOAD_WITHIN`.
    """

    def __init__(
        self,
        config: Path,
        in_force: Callable[[], tuple[Settings, Policy]],
        apply: Callable[[Loaded], Awaitable[Sequence[str]]],
        *,
        files: FilesWatch,
        admin_api: AdminApiListener,
        metrics: Metrics,
        lines: Lines,
    ) -> None:
        self._config = config
        self._in_force = in_force
        self._put_in_force = apply
        self._files = files
        self._admin_api = admin_api
        self._metrics = metrics
        self._lines = lines
        self._disk = LimitedThreads("reload")
        self._one = asyncio.Lock()  # two at a time could leave the older files in force
        self.within = RELOAD_WITHIN

    async def reload(self, cause: ReloadCause, seen: FilesStamp | None = None) -> ReloadAnswer:
        """Read all files again and, if they are valid, serve by them from the next request on.

        Args:
            cause: the reason; a watched change must not take protections away.
            seen: the stamp that the files must have; other files are left to the next look.

        Returns:
            The changes that are now in force; or the problems, which the log has too, and the old files stay.
        """
        async with self._one:
            return await self._reload(cause, seen)

    async def serve_commands(self, path: Path | None, stack: contextlib.AsyncExitStack) -> None:
        """Listen for `mcp-sidecar reload` until the stack is closed; without a path nothing listens.

        Raises:
            OSError: the socket cannot be opened.
        """

        async def answer() -> dict[str, Any]:
            return (await self.reload(ReloadCause.COMMAND)).document

        if path is not None:
            control = ControlSocket(path, answer)
            stack.push_async_callback(control.close)
            await control.open()

    async def watched(self, seen: FilesStamp) -> None:
        """Reload files that the watch has found changed."""
        await self.reload(ReloadCause.WATCH, seen)

    async def _reload(self, cause: ReloadCause, seen: FilesStamp | None) -> ReloadAnswer:
        settings, policy = self._in_force()
        try:
            async with asyncio.timeout(self.within):
                loaded = await self._disk.run(load, self._config)
        except DocumentError as error:
            problems = [str(problem) for problem in error.problems]
            self._files.refused(problems, logged=True)
            return self._refuse(problems)
        except TimeoutError:
            return self._refuse([f"the files were not read in {self.within:g} s: does their mount answer?"])
        except Exception as error:  # noqa: BLE001 - whatever files can cause, the old ones stay and the answer says so
            return self._refuse([f"the files cannot be loaded: {fault_place(error)}"])
        if seen is not None and loaded.stamp != seen:
            return ReloadAnswer.refused(policy.revision, ["the files have changed again"])
        problems = []
        if fixed := needs_restart(settings, loaded.settings):
            problems = [f"changing {', '.join(fixed)} needs a restart"]
        elif cause is ReloadCause.WATCH:
            problems = [f"{lost}: {_HELD}" for lost in weakenings(policy, loaded.policy)]
        if problems:
            self._files.found(loaded)
            return self._refuse(problems)
        return await self._apply(loaded, cause)

    def warn(self, loaded: Loaded) -> None:
        """Log what files that are now in force weaken."""
        for notice in loaded.notices:
            self._lines.event("config_warning", "warning", rule=notice.rule, problem=notice.text)

    def succeeded(self) -> None:
        """Count a load of files that are now in force."""
        self._metrics.reload_success.set(True)
        self._metrics.reload_time.set(time.time())

    async def _apply(self, loaded: Loaded, cause: ReloadCause) -> ReloadAnswer:
        before = self._in_force()
        problems = await self._put_in_force(loaded)
        if problems:
            self._files.found(loaded)
            return self._refuse(problems)
        self._admin_api.use(loaded.tls.admin_api)
        self._files.reloaded(loaded)
        self._lines.follow(loaded.settings.log)
        answer = _accepted(before, loaded)
        fields = {"policy": answer.revision, "before": answer.before, "cause": cause.value, "changes": answer.changes}
        if self._lines.wants("info"):
            self._lines.write("info", "reloaded", fields)
        self.warn(loaded)
        self.succeeded()
        return answer

    def _refuse(self, problems: Sequence[str]) -> ReloadAnswer:
        """Keep the old files. Problems name files, lines and keys and never hold a value."""
        for problem in problems:
            self._lines.write("error", "reload_failed", {"problem": cut(problem, 1000)})
        self._metrics.reload_success.set(False)
        self._metrics.reload_failures.inc()
        return ReloadAnswer.refused(self._in_force()[1].revision, problems)


class FilesInForce:
    """Replacement of everything in this process that depends on config and policy.

    Args:
        pipeline: gets the new snapshot.
        issuers: keeps the issuers that the new config names.
        certificates: gets the new credentials.
        listeners: gets the new limits of headers.
        backend: lists the tools that the new policy depends on.
        applied: called when new files are in force.
        metrics: their series depend on names in the files.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        issuers: IssuerRegistry,
        certificates: Certificates,
        listeners: Listeners,
        backend: BackendWatch,
        applied: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._pipeline = pipeline
        self._issuers = issuers
        self._certificates = certificates
        self._listeners = listeners
        self._backend = backend
        self._applied = applied
        self._metrics = metrics

    async def replace(self, loaded: Loaded) -> tuple[str, ...]:
        """Serve by other files from the next request on; return no problems."""
        before = self._pipeline.snapshot
        upstream = _upstream(before, loaded)
        snapshot = Snapshot.of(loaded.settings, loaded.policy, self._issuers, upstream, before)
        await self._backend.prepare(snapshot)
        # From here to the assignment nothing waits: the new files come into force in one moment.
        self._certificates.use(loaded.tls, upstream)
        self._listeners.limit(loaded.settings.limits)
        for gone in {each.id for each in before.settings.issuers} - {each.id for each in loaded.settings.issuers}:
            self._metrics.issuer(gone, keys=None, fetched=None, introspection=None)
        self._pipeline.snapshot = snapshot
        if upstream is not before.upstream:
            before.upstream.close()
            self._backend.follow()
        self._applied()
        await self._issuers.retain(loaded.settings.issuers)
        self.begin_series()
        return ()

    def begin_series(self) -> None:
        """Begin the series of names in the files that are in force."""
        settings, policy = self._pipeline.snapshot.settings, self._pipeline.snapshot.policy
        self._metrics.policy(policy.revision)
        self._metrics.expect(policy.tools, policy.credits, shadow_codes(policy), policy.quotas)
        self._metrics.begin(self._metrics.streams_ended, [each.name.lower() for each in StreamEnding])
        if any(issuer.introspection for issuer in settings.issuers):
            self._metrics.begin(self._metrics.introspections, [each.value for each in IntrospectionOutcome])


def needs_restart(before: Settings, after: Settings) -> list[str]:
    """Return the changed settings that a reload cannot change."""
    changed = [name for name in _FIXED if getattr(before, name) != getattr(after, name)]
    # Certificates are read again; the choice of TLS or not is part of the listener.
    if _bound(before) != _bound(after):
        changed.append("listen")
    if _api_bound(before) != _api_bound(after):
        changed.append("admin_api.listen")
    return changed


def _bound(settings: Settings) -> list[tuple[Address, bool]]:
    return [(each.address, each.tls is None) for each in settings.listen]


def _api_bound(settings: Settings) -> tuple[object, bool] | None:
    section = settings.admin_api
    return None if section is None else (section.listen, section.tls is None)


def _upstream(before: Snapshot, loaded: Loaded) -> BackendPool:
    """Return the connections to the backend: the same ones unless their settings have changed."""
    old, new = before.settings.backend, loaded.settings.backend
    same = all(getattr(old, name) == getattr(new, name) for name in _POOLED)
    return before.upstream if same else backend_pool(loaded.settings, loaded.tls)


def _accepted(before: tuple[Settings, Policy], after: Loaded) -> ReloadAnswer:
    settings, policy = before
    changes: Iterable[str] = (*settings_changes(settings, after.settings), *policy_changes(policy, after.policy))
    return ReloadAnswer(True, after.policy.revision, policy.revision, bounded(changes))
