"""The operator's listener: metrics, liveness and readiness. It holds no secrets and asks for none."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from aiohttp.web import BaseRequest, Response

from sidecar.observe.metrics import CONTENT_TYPE, Metrics
from sidecar.proxy.readiness import Readiness


class Admin:
    """Answers `/metrics`, `/healthz` and `/readyz`.

    Args:
        metrics: what Prometheus reads.
        readiness: what `/readyz` says.
        refresh: brings the gauges up to date before they are read.
    """

    def __init__(self, metrics: Metrics, readiness: Readiness, refresh: Callable[[], None]) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._refresh = refresh

    async def handle(self, request: BaseRequest) -> Response:
        """Serve one request."""
        path = request.raw_path.partition("?")[0]
        if request.method not in ("GET", "HEAD"):
            return Response(status=405, headers={"Allow": "GET, HEAD"})
        if path == "/healthz":
            return Response(text="ok\n")
        if path == "/readyz":
            return self._ready()
        if path == "/metrics":
            self._refresh()
            return Response(body=self._metrics.expose(), headers={"Content-Type": CONTENT_TYPE})
        return Response(status=404, text="/metrics, /healthz, /readyz\n")

    def _ready(self) -> Response:
        """200 when everything is there, else 503; each check by name with what it lacks."""
        checks = self._readiness.now()
        ready = all(check.ok for check in checks)
        body = {"ready": ready, "checks": {check.name: check.lack or "ok" for check in checks}}
        return Response(
            status=200 if ready else 503,
            body=orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n",
            content_type="application/json",
        )
