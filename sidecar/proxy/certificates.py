"""The certificates in force: put in place at start and by a reload, and renewed when their files change.

Other programs renew certificates, and tell nobody; so the files are looked at every few seconds. What can
be used takes the place of what is in force in one assignment, for connections made from then on. What
cannot is logged, and changes nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from typing import Final

from sidecar.config.certificates import CertificateError, Credentials, Fault, Stamp, named, read, stamp_of
from sidecar.config.settings import Settings
from sidecar.observe.logs import Lines
from sidecar.observe.metrics import Metrics
from sidecar.observe.redact import cut
from sidecar.proxy.upstream import Upstream
from sidecar.workbench.certificates import Tls

LOOK_EVERY: Final = 2.0
"""Seconds between looks at the files."""


class ListenerContext(ssl.SSLContext):
    """What the server is given once, and never loads anything into: each connection is made by `current`.

    So a connection belongs wholly to the old context or to the new one, its session tickets included,
    and those already open keep theirs. By itself it has no certificate and could complete no handshake.
    """

    current: ssl.SSLContext

    def __new__(cls, current: ssl.SSLContext) -> ListenerContext:
        """A context that makes connections by another one."""
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


class Certificates:
    """Both sides' certificates.

    Args:
        settings: the config.
        tls: what was loaded by it.
        upstream: the backend's connections.
        metrics: told when certificates end.
        lines: told what was renewed, and what could not be.

    Attributes:
        listener: the context of the listener; None where it speaks plain HTTP.
    """

    def __init__(self, settings: Settings, tls: Tls, upstream: Upstream, metrics: Metrics, lines: Lines) -> None:
        if (settings.listen.tls is None) != (tls.listener is None):
            raise ValueError("the config was not loaded for serving")  # never plain HTTP where TLS was asked for
        self._upstream = upstream
        self._metrics = metrics
        self._lines = lines
        self.listener = None if tls.listener is None else ListenerContext(tls.listener.context)
        self._sides: dict[str, _Side] = {}
        self.use(tls)

    @property
    def valid(self) -> bool:
        """Whether the files that are in use would load again."""
        return not any(side.refused for side in self._sides.values())

    def use(self, tls: Tls) -> None:
        """Put everything in force that was loaded, from the next connection on."""
        self._sides = {}
        self._put("listen", tls.listener)
        self._put("backend", tls.backend)

    async def watch(self) -> None:
        """Look at the files every few seconds; never returns."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self.look()

    async def look(self) -> None:
        """Read again what has changed on disk.

        Files are rarely written in one moment: a pair that cannot be used is looked at once more before it
        is called broken.
        """
        for name, side in list(self._sides.items()):
            seen = await asyncio.to_thread(stamp_of, side.credentials.source)
            if seen == side.credentials.stamp and not side.refused:
                continue
            try:
                credentials = await asyncio.to_thread(read, side.credentials.source)
            except CertificateError as error:
                if self._sides.get(name) is side:
                    self._refuse(name, side, seen, error)
                continue
            if self._sides.get(name) is side:  # no reload came in between
                self._put(name, credentials)
                self._lines.event("certificate_renewed", side=name, ends=_moment(credentials.ends))

    def _put(self, name: str, credentials: Credentials | None) -> None:
        self._metrics.certificate(name, None if credentials is None else credentials.ends)
        if credentials is None:
            return
        if named(credentials.source):
            self._sides[name] = _Side(credentials)
        if name == "backend":
            self._upstream.set_tls(credentials.context)
        elif self.listener is not None:
            self.listener.current = credentials.context
        untimely = credentials.untimely(datetime.now(UTC))
        if untimely is not None:
            self._lines.event("certificate_untimely", "warning", side=name, problem=untimely)

    def _refuse(self, name: str, side: _Side, seen: Stamp, error: CertificateError) -> None:
        if seen != side.doubtful:
            side.doubtful = seen
            return
        told_already, side.refused = side.refused == error.faults, error.faults
        if told_already:
            return
        files = named(side.credentials.source)
        for fault in error.faults:
            told = {"side": name, "file": cut(str(files[fault.key]), 1000), "problem": f"{fault.key}: {fault.wrong}"}
            self._lines.write("error", "certificate_refused", told)


class _Side:
    """One side's certificate in force.

    Attributes:
        doubtful: how the files were when they last could not be used.
        refused: what was last told to be wrong with them.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.doubtful: Stamp | None = None
        self.refused: tuple[Fault, ...] = ()


def upstream_of(settings: Settings, tls: Tls) -> Upstream:
    """The way to the configured backend."""
    backend = settings.backend
    context = None if tls.backend is None else tls.backend.context
    return Upstream(backend.url, headers=backend.headers.items(), tls=context, connect_timeout=backend.connect_timeout)


def _moment(when: datetime | None) -> str | None:
    return None if when is None else f"{when:%Y-%m-%dT%H:%M:%SZ}"
