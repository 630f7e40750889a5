"""A collector of traces: takes OTLP over HTTP and decodes it with the messages of OpenTelemetry."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.store import until

SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT


@dataclass(frozen=True, slots=True)
class Taken:
    """One span as it arrived."""

    message: Span
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        return self.message.name

    @property
    def kind(self) -> int:
        return self.message.kind

    @property
    def trace(self) -> str:
        return self.message.trace_id.hex()

    @property
    def id(self) -> str:
        return self.message.span_id.hex()

    @property
    def parent(self) -> str:
        """The id of its parent; empty without one."""
        return self.message.parent_span_id.hex()

    @property
    def attributes(self) -> dict[str, Any]:
        return values(self.message.attributes)

    @property
    def failed(self) -> bool:
        return self.message.status.code == Status.STATUS_CODE_ERROR


class Collector:
    """A collector on loopback.

    Args:
        tls: for https.

    Attributes:
        bodies: of all requests, as they arrived.
        requests: their headers.
        answers: statuses of the next answers; 200 when it is empty.
        rejects: spans that each answer says are rejected.
        gate: requests wait for it.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.bodies: list[bytes] = []
        self.requests: list[dict[str, str]] = []
        self.answers: deque[int] = deque()
        self.rejects = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}/v1/traces"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.gate.set()
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append(dict(request.headers))
        await self.gate.wait()
        status = self.answers.popleft() if self.answers else 200
        if status == 200:
            self.bodies.append(body)
        answer = ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess(rejected_spans=self.rejects))
        return web.Response(status=status, body=answer.SerializeToString(), content_type="application/x-protobuf")

    @property
    def spans(self) -> list[Taken]:
        """All spans that were accepted, in the order of arrival."""
        return [
            Taken(span, values(group.resource.attributes))
            for body in self.bodies
            for group in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]

    async def of_request(self, request_id: str) -> list[Taken]:
        """Wait for the spans of one request: its own, then the others."""
        found: list[Taken] = []

        def arrived() -> bool:
            own = [each for each in self.spans if each.attributes.get("mcp_sidecar.request_id") == request_id]
            trace = {(each.trace, each.id) for each in own}
            found[:] = own + [each for each in self.spans if (each.trace, each.parent) in trace]
            return bool(found)

        await until(arrived)
        return found


def values(pairs: Any) -> dict[str, Any]:
    """Attributes as a mapping."""

    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, pair.value.WhichOneof("value") or "string_value")

    return {pair.key: value(pair) for pair in pairs}
