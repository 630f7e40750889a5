"""Listener of the admin API in a process, with a connection to the store and a certificate of its own.

Its store connection is not that of calls: a scan of all accounts delays no call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from sidecar.admin_api.api_log import ApiLog
from sidecar.admin_api.api_problems import ApiCode
from sidecar.admin_api.api_server import AdminApi, InForce
from sidecar.admin_api.routes import ROUTES
from sidecar.config.settings.addresses import Address
from sidecar.config.settings.admin_api_settings import AdminApiSettings, UnixAddress
from sidecar.config.settings.settings import StoreSettings
from sidecar.config.tls_files import Credentials
from sidecar.management.operator_store import OperatorStore
from sidecar.observe.logs import Lines
from sidecar.observe.metrics import Metrics
from sidecar.observe.repeats import Repeats
from sidecar.proxy.listener.accepting.acceptors import Bound, Listeners
from sidecar.proxy.listener.accepting.binding import bind
from sidecar.proxy.listener.accepting.client_server import ClientServer
from sidecar.proxy.listener.accepting.unix_binding import bind_unix, remove_socket
from sidecar.runtime.background import BackgroundTasks
from sidecar.runtime.watches.tls_reload import ApiCertificate, ListenerContext
from sidecar.store.connection.store_connection import StoreError
from sidecar.system.threads import LimitedThreads

GRACE: Final = 5.0
"""Seconds for requests in flight when the process ends."""
SOCKET_MODE: Final = 0o660
"""Mode of a unix socket: its user and group may connect, and need a token all the same."""

_AGAIN: Final = 1.0  # seconds between two attempts to start the embedded store
_BACKLOG: Final = 64


class AdminApiListener:
    """Admin API of this process.

    Args:
        in_force: returns config and policy in force.
        lines: the log.
        repeats: its events that repeat.
        metrics: count requests.
    """

    def __init__(self, in_force: InForce, lines: Lines, repeats: Repeats, metrics: Metrics) -> None:
        self._in_force = in_force
        self._lines = lines
        self._repeats = repeats
        self._metrics = metrics
        self._tasks = BackgroundTasks(repeats)
        self._disk = LimitedThreads("admin API socket")
        self._certificate: ApiCertificate | None = None

    @property
    def valid(self) -> bool:
        """True when the certificate files in use would load again, or there are none."""
        return self._certificate is None or self._certificate.valid

    async def open(
        self,
        listeners: Listeners,
        stack: contextlib.AsyncExitStack,
        credentials: Credentials | None,
    ) -> None:
        """Serve until the stack is closed; nothing without `admin_api` in the config.

        Args:
            listeners: of the process.
            stack: ends it.
            credentials: for TLS, as loaded; None without TLS.

        Raises:
            OSError: an address cannot be listened on.
        """
        settings, _ = self._in_force()
        section = settings.admin_api
        if section is None:
            return
        store = self._open_store(settings.store, stack)
        api = AdminApi(self._in_force, store, ApiLog(self._lines, self._repeats, self._metrics))
        stack.push_async_callback(api.close, GRACE)
        self._metrics.begin(self._metrics.api_requests, [route.operation for route in ROUTES])
        self._metrics.begin(self._metrics.api_problems, [code.id for code in ApiCode])
        context = self._watched(section, credentials)
        bound = await self._bind(section.listen, context, stack)
        server = ClientServer(api.handle, api.error, settings.limits)
        contexts = [each.tls for each in bound]
        await listeners.open("admin_api", section.addresses, contexts, server, lambda: GRACE, bound)
        stack.callback(api.end_streams)
        self._lines.event("admin_api_listening", listen=listeners.words("admin_api"))

    def use(self, credentials: Credentials | None) -> None:
        """Put other credentials in force, from the next connection on."""
        if self._certificate is not None:
            self._certificate.use(credentials)

    def _open_store(self, settings: StoreSettings, stack: contextlib.AsyncExitStack) -> OperatorStore:
        store = OperatorStore(settings)
        stack.push_async_callback(store.close)
        stack.push_async_callback(self._tasks.cancel)

        async def connect() -> None:
            while True:
                try:
                    return await store.start()
                except (StoreError, OSError) as error:
                    self._repeats.event("store_unavailable", "error", problem=str(error))
                    await asyncio.sleep(_AGAIN)

        self._tasks.start(connect, "admin API store")
        return store

    def _watched(self, section: AdminApiSettings, credentials: Credentials | None) -> ListenerContext | None:
        if section.tls is None:
            return None
        if credentials is None:
            raise ValueError("the config was not loaded for serving")  # never plain HTTP where TLS is configured
        self._certificate = ApiCertificate(credentials, self._metrics, self._lines)
        self._tasks.start(self._certificate.watch, "admin API certificate")
        return self._certificate.context

    async def _bind(
        self,
        addresses: Sequence[Address | UnixAddress],
        context: ListenerContext | None,
        stack: contextlib.AsyncExitStack,
    ) -> list[Bound]:
        tcp = [each for each in addresses if isinstance(each, Address)]
        bound: list[Bound] = [*await bind(tcp, [context] * len(tcp))]
        try:
            for each in addresses:
                if isinstance(each, UnixAddress):
                    made = await self._disk.run(
                        bind_unix, each.path, "the socket of the admin API", SOCKET_MODE, _BACKLOG
                    )
                    stack.push_async_callback(self._disk.run, remove_socket, made)
                    bound.append(made)
        except BaseException:
            for address in bound:
                address.close()
            raise
        return bound
