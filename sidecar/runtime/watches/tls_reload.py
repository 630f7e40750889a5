"""Certificates in force: set at start and by a reload, and renewed when their files change.

Other programs renew certificates without a notice, so the files are checked every few seconds. A usable file
replaces the one in force in one assignment, for connections made from then on. An unusable file is logged and
changes nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Final

from sidecar.config.settings.settings import Settings
from sidecar.config.tls_files import CertificateError, Credentials, Fault, Stamp, paths_of, read_credentials, stamp_of
from sidecar.observe.logs import Lines
from sidecar.observe.metrics import Metrics
from sidecar.observe.redact import cut
from sidecar.proxy.backend.pool import BackendPool
from sidecar.system.threads import LimitedThreads
from sidecar.workbench.tls_check import Tls

CHECK_EVERY: Final = 2.0
"""Seconds between two checks of the files."""
LOOK_WITHIN: Final = 10.0
"""Seconds that one check may take; a mount that does not answer is reported like a file that cannot be read."""

_ADMIN_API: Final = "admin_api"  # the side


class ListenerContext(ssl.SSLContext):
    """Context that the server keeps for good; each connection is made by `current`.

    So a connection belongs wholly to the old context or to the new one, its session tickets included,
    and open connections keep theirs. This context itself has no certificate and could complete no handshake.
    """

    current: ssl.SSLContext

    def __new__(cls, current: ssl.SSLContext) -> ListenerContext:
        """Make a context that passes each connection to `current`."""
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made.current = current
        return made

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection, as event loops do."""
        return self.current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


class CertificateWatch(ABC):
    """Certificates in force by side, and the watch over their files.

    Args:
        metrics: get the end of each certificate.
        lines: the log of renewals and refusals.
    """

    def __init__(self, metrics: Metrics, lines: Lines) -> None:
        self._metrics = metrics
        self._lines = lines
        self.look_within = LOOK_WITHIN
        self._sides: dict[str, _CertificateState] = {}

    @property
    def valid(self) -> bool:
        """True when the files in use would load again."""
        return not any(side.refused for side in self._sides.values())

    async def watch(self) -> None:
        """Check the files every few seconds, forever."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            await self.check()

    async def check(self) -> None:
        """Read the files that have changed on disk.

        Files are rarely written in one moment: an unusable pair is checked once more before it is reported.
        Each side has its own thread: a mount that does not answer delays only its own side.
        """
        await asyncio.gather(*(self._check_side(name, side) for name, side in self._sides.items()))

    async def _check_side(self, name: str, side: _CertificateState) -> None:
        source = side.credentials.source
        seen: Stamp = ()
        try:
            async with asyncio.timeout(self.look_within):
                seen = await side.threads.run(stamp_of, source)
                if seen == side.credentials.stamp and not side.refused:
                    return
                credentials = await side.threads.run(read_credentials, source)
        except TimeoutError:
            side.doubtful = seen  # the wait was long enough
            silent = Fault(next(iter(paths_of(source))), "the file system does not answer", "files that can be read")
            self._refuse(name, side, seen, CertificateError([silent]))
        except CertificateError as error:
            if self._sides.get(name) is side:
                self._refuse(name, side, seen, error)
        else:
            if self._sides.get(name) is side:  # no reload came in between
                self._put(name, credentials)
                self._lines.event("certificate_renewed", side=name, ends=_moment(credentials.not_after))

    def _put(self, name: str, credentials: Credentials | None) -> None:
        self._metrics.certificate(name, None if credentials is None else credentials.not_after)
        if credentials is None:
            return
        if paths_of(credentials.source):
            self._sides[name] = _CertificateState(credentials)
        self._apply(name, credentials.context)
        problem = credentials.validity_problem(datetime.now(UTC))
        if problem is not None:
            self._lines.event("certificate_outside_validity", "warning", side=name, problem=problem)

    @abstractmethod
    def _apply(self, name: str, context: ssl.SSLContext) -> None:
        """Use a context for connections of a side that begin from now on."""

    def _refuse(self, name: str, side: _CertificateState, seen: Stamp, error: CertificateError) -> None:
        if seen != side.doubtful:
            side.doubtful = seen
            return
        is_known, side.refused = side.refused == error.faults, error.faults
        if is_known:
            return
        files = paths_of(side.credentials.source)
        for fault in error.faults:
            line = {"side": name, "file": cut(str(files[fault.key]), 1000), "problem": f"{fault.key}: {fault.wrong}"}
            self._lines.write("error", "certificate_rejected", line)


class Certificates(CertificateWatch):
    """Certificates of the listeners and of the backend connection.

    Args:
        settings: config.yaml.
        tls: the credentials that were loaded for it.
        upstream: the connections to the backend.
        metrics: get the end of each certificate.
        lines: the log of renewals and refusals.

    Attributes:
        listeners: the context of each entry of `listen`; None where it speaks plain HTTP.
    """

    def __init__(self, settings: Settings, tls: Tls, upstream: BackendPool, metrics: Metrics, lines: Lines) -> None:
        super().__init__(metrics, lines)
        if [each.tls is None for each in settings.listen] != [each is None for each in tls.listeners]:
            raise ValueError("the config was not loaded for serving")  # never plain HTTP where TLS is configured
        self._upstream = upstream
        self.listeners = tuple(None if each is None else ListenerContext(each.context) for each in tls.listeners)
        self.use(tls)

    def use(self, tls: Tls, upstream: BackendPool | None = None) -> None:
        """Put loaded credentials in force, from the next connection on.

        Args:
            tls: the credentials.
            upstream: connections to the backend that replace those before.
        """
        self._upstream = upstream or self._upstream
        self._sides = {}
        for place, listener in enumerate(tls.listeners):
            self._put(_listen(place), listener)
        self._put("backend", tls.backend)

    def _apply(self, name: str, context: ssl.SSLContext) -> None:
        if name == "backend":
            self._upstream.set_tls(context)
            return
        for place, listener in enumerate(self.listeners):
            if listener is not None and name == _listen(place):
                listener.current = context


class ApiCertificate(CertificateWatch):
    """Certificate of the admin API.

    Args:
        credentials: as loaded.
        metrics: get the end of the certificate.
        lines: the log of renewals and refusals.

    Attributes:
        context: for the listener.
    """

    def __init__(self, credentials: Credentials, metrics: Metrics, lines: Lines) -> None:
        super().__init__(metrics, lines)
        self.context = ListenerContext(credentials.context)
        self.use(credentials)

    def use(self, credentials: Credentials | None) -> None:
        """Put loaded credentials in force, from the next connection on; None changes nothing."""
        if credentials is not None:
            self._sides = {}
            self._put(_ADMIN_API, credentials)

    def _apply(self, name: str, context: ssl.SSLContext) -> None:
        self.context.current = context


class _CertificateState:
    """Certificate in force of one side.

    Attributes:
        doubtful: the stamp of the files when they were last unusable.
        refused: the faults that were reported last.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.threads = LimitedThreads("certificates")
        self.doubtful: Stamp | None = None
        self.refused: tuple[Fault, ...] = ()


def backend_pool(settings: Settings, tls: Tls) -> BackendPool:
    """Make the pool of connections to the configured backend."""
    backend = settings.backend
    context = None if tls.backend is None else tls.backend.context
    return BackendPool(
        backend.url,
        headers=backend.headers.items(),
        tls=context,
        connect_timeout=backend.connect_timeout,
        max_age=backend.max_connection_age,
    )


def _listen(place: int) -> str:
    """Return the name of the side of an entry of `listen`."""
    return f"listen[{place}]" if place else "listen"


def _moment(when: datetime | None) -> str | None:
    return None if when is None else f"{when:%Y-%m-%dT%H:%M:%SZ}"
