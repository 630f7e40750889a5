"""Operator's listener: metrics, liveness and readiness. It holds no secrets and asks for none.

An answer repeats nothing of its request, and a page in a browser cannot read one: a request under a foreign Host
name (DNS rebinding) is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import orjson

from sidecar.config.settings.settings import Settings
from sidecar.observe.metrics import Metrics
from sidecar.proxy.listener.accepting.acceptors import Listeners
from sidecar.proxy.listener.accepting.client_server import ClientServer
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.http_answers import Answer
from sidecar.proxy.listener.operator_hosts import is_operator_host
from sidecar.runtime.readiness import Readiness
from sidecar.runtime.shutdown import ADMIN_GRACE


class Admin:
    """Answer `/metrics`, `/healthz` and `/readyz`.

    Args:
        metrics: exposed to Prometheus.
        readiness: the checks of `/readyz`.
        refresh: brings the gauges up to date before they are read.
        hosts: returns Host names that are served besides IP literals and localhost, in lower case, with or without a
            port.
        alive: returns False when `/healthz` must fail, and its text.
    """

    def __init__(
        self,
        metrics: Metrics,
        readiness: Readiness,
        refresh: Callable[[], Awaitable[None]],
        hosts: Callable[[], Collection[str]] = tuple,
        alive: Callable[[], tuple[bool, str]] = lambda: (True, "ok"),
    ) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._refresh = refresh
        self._hosts = hosts
        self._alive = alive

    async def listen(self, listeners: Listeners, settings: Settings) -> None:
        """Open the listeners of `admin`.

        Raises:
            OSError: an address cannot be listened on.
        """
        server = ClientServer(self.handle, self.error, settings.limits)
        await listeners.open("admin", settings.admin, [None] * len(settings.admin), server, lambda: ADMIN_GRACE)

    async def handle(self, request: ClientRequest) -> Answer:
        """Serve one request."""
        if not is_operator_host(request.headers.getall("Host", ()), self._hosts()):
            return _text(403, "this Host name is not served here; admin_hosts names those that are\n")
        path = request.raw_path.partition("?")[0]
        if request.method not in ("GET", "HEAD"):
            return Answer(405, [("Allow", "GET, HEAD")])
        if path == "/healthz":
            alive, text = self._alive()
            return _text(200 if alive else 503, f"{text}\n")
        if path == "/readyz":
            return self._ready()
        if path == "/metrics":
            await self._refresh()
            return await self._scraped(",".join(request.headers.getall("Accept", ())))
        return _text(404, "/metrics, /healthz, /readyz\n")

    def error(self, status: int, _: BaseException | None) -> Answer:
        """Answer a request that is not HTTP, or that has failed here."""
        client = 400 <= status < 500
        text = "the HTTP request is malformed\n" if client else "this request has failed\n"
        return _text(400 if client else 500, text)

    async def _scraped(self, accept: str) -> Answer:
        """Return the metrics; calls are served while a long body is made."""
        content_type, parts = self._metrics.expose(accept)
        body = bytearray()
        for part in parts:
            body += part
            await asyncio.sleep(0)
        return Answer(200, [("Content-Type", content_type), ("Vary", "Accept")], bytes(body))

    def _ready(self) -> Answer:
        """Return 200 when every required check passes, else 503; each check by name with its reason."""
        checks, ready = self._readiness.now(), self._readiness.ready
        body = {"ready": ready, "checks": {check.name: check.unavailable_reason or "ok" for check in checks}}
        text = orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n"
        return Answer(200 if ready else 503, [("Content-Type", "application/json")], text)


def _text(status: int, text: str) -> Answer:
    return Answer(status, [("Content-Type", "text/plain; charset=utf-8")], text.encode())
