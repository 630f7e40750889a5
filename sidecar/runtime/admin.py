"""Operator's listener: metrics, liveness and readiness. It holds no secrets and asks for none.

An answer repeats nothing of its request, and a page in a browser cannot read one: a request under a foreign Host
name (DNS rebinding) is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from ipaddress import ip_address

import orjson

from sidecar.config.settings.settings import Settings
from sidecar.observe.metrics import Metrics
from sidecar.proxy.listener.accepting.acceptors import Listeners
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.client_server import ClientServer
from sidecar.proxy.listener.http_answers import Answer
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
        if not self._is_served(request.headers.getall("Host", ())):
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

    def _is_served(self, hosts: Iterable[str]) -> bool:
        """Return False for a Host name that an attacker could have pointed here; browsers always send one."""
        values = list(hosts)
        if not values:  # HTTP/1.0, as load balancers check health
            return True
        host = values[0].lower()
        name, port = _split(host)
        if len(values) > 1 or (port and not port.isdecimal()):
            return False
        return name == "localhost" or _is_literal(name) or not {host, name}.isdisjoint(self._hosts())

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


def _split(host: str) -> tuple[str, str]:
    """Split a Host into name and port; an IPv6 literal keeps its brackets."""
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        return name + bracket, rest.removeprefix(":") if rest[:1] in ("", ":") else "?"
    name, _, port = host.partition(":")
    return name, port


def _is_literal(name: str) -> bool:
    """Return True for an IPv4 address, or an IPv6 address in brackets."""
    inside = name[1:-1] if name.startswith("[") and name.endswith("]") else None
    try:
        return ip_address(name if inside is None else inside).version == (4 if inside is None else 6)
    except ValueError:
        return False
