"""Spans of a finished request: names, attributes and status by OpenTelemetry's conventions for MCP and GenAI.

Values are from the policy, from the protocol and from fixed lists. Ids of sessions and of JSON-RPC requests, URIs of
resources, arguments, accounts and clients are left out: a session id is a credential, the others are data of callers.
The log line with the same `request_id` names account and client.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sidecar.errors import ErrorCode, Gate
from sidecar.observe.redact import cut
from sidecar.observe.statuses import Status
from sidecar.observe.tracing.call_trace import CallTrace, new_span_id
from sidecar.observe.tracing.traceparent import TraceParent, read_traceparent
from sidecar.outcome import Exchange

CLIENT: Final = 3
SERVER: Final = 2

_CALL: Final = "tools/call"
_BODILESS: Final = frozenset({"GET", "DELETE", "response"})  # labels of requests without a method of JSON-RPC
_STORE: Final = "FCALL admit"
_PORTS: Final = {"http": 80, "https": 443}

Attribute = tuple[str, str | int]


class Span(NamedTuple):
    """One finished span.

    Attributes:
        kind: `SERVER` or `CLIENT`, as OTLP numbers them.
        parent_id: None where the trace begins.
        remote: True when the parent is a span of another process.
        began: nanoseconds since the epoch.
        ended: nanoseconds since the epoch.
        failed: True sets the status `ERROR`.
        link: a span of another trace that belongs to it.
    """

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str | None
    remote: bool
    began: int
    ended: int
    attributes: tuple[Attribute, ...]
    failed: bool
    link: TraceParent | None = None


def spans_of(trace: CallTrace, exchange: Exchange, status: Status, ended: float) -> list[Span]:
    """Describe a finished request.

    Args:
        trace: its ids and times.
        exchange: its facts.
        status: its outcome.
        ended: when it ended, on the monotonic clock.
    """
    error: list[Attribute] = [] if status is Status.OK else [("error.type", exchange.code)]
    operation, name = _operation(exchange)
    parent = trace.parent
    request = Span(
        name=name or trace.method,
        kind=SERVER,
        trace_id=trace.trace_id,
        span_id=trace.span_id,
        parent_id=None if parent is None else parent.parent_id,
        remote=parent is not None,
        began=trace.moment(exchange.started),
        ended=trace.moment(ended),
        attributes=(*operation, *_request(trace, exchange, status), *error),
        failed=bool(error),
        link=_link(trace, exchange),
    )
    found = [request]
    if trace.store_began is not None:
        found.append(_child(_store_span(request, trace, exchange, ended), request))
    if trace.backend_id is not None and trace.backend_began is not None:
        seconds = exchange.backend_seconds
        backend = request._replace(
            span_id=trace.backend_id,
            began=trace.moment(trace.backend_began),
            ended=trace.moment(ended if seconds is None else trace.backend_began + seconds),
            attributes=(*operation, *_TRANSPORT, *_server(trace.backend_url), *error),
        )
        found.append(_child(backend, request))
    return found


def _child(span: Span, parent: Span) -> Span:
    """Return a span as one of a request that this process makes."""
    return span._replace(kind=CLIENT, parent_id=parent.span_id, remote=False, link=None)


_TRANSPORT: Final = (("network.transport", "tcp"), ("network.protocol.name", "http"))


def _link(trace: CallTrace, exchange: Exchange) -> TraceParent | None:
    """Return the span that the message itself names (`_meta.traceparent`, SEP-414), unless it is the parent."""
    meta = exchange.call.params.get("_meta") if exchange.call is not None else None
    text = meta.get("traceparent") if isinstance(meta, dict) else None
    named = read_traceparent(text) if isinstance(text, str) else None
    return None if named is None or named[:2] == (trace.parent or ("", ""))[:2] else named


def _operation(exchange: Exchange) -> tuple[list[Attribute], str | None]:
    """Return the attributes of the method of MCP, and the name of its spans; none for requests without one."""
    method, tool = exchange.method, exchange.tool
    if method is None or method in _BODILESS:
        return [], None
    found: list[Attribute] = [("mcp.method.name", method)]
    if method == _CALL:
        found.append(("gen_ai.operation.name", "execute_tool"))
    if tool is not None:
        found.append(("gen_ai.tool.name", tool))
    if exchange.call is not None:
        found.append(("mcp.protocol.version", exchange.call.revision.value))
    return found, method if tool is None else f"{method} {tool}"


def _request(trace: CallTrace, exchange: Exchange, status: Status) -> list[Attribute]:
    refusal = exchange.refusal
    optional: tuple[tuple[str, str | int | None], ...] = (
        ("http.response.status_code", exchange.http_status),
        ("mcp_sidecar.gate", None if refusal is None else refusal.gate.value),
        ("mcp_sidecar.rule", None if exchange.rule is None else cut(exchange.rule, 256)),
        ("mcp_sidecar.plan", None if exchange.plan is None else cut(exchange.plan, 128)),
        ("mcp_sidecar.revision", exchange.policy_revision),
        ("mcp_sidecar.stream_end", exchange.stream_end),
    )
    return [
        *_TRANSPORT,
        ("http.request.method", trace.method),
        ("mcp_sidecar.request_id", exchange.request_id),
        ("mcp_sidecar.status", status.value),
        ("mcp_sidecar.code", exchange.code),
        *((name, value) for name, value in optional if value is not None),
    ]


def _store_span(request: Span, trace: CallTrace, exchange: Exchange, ended: float) -> Span:
    """Describe the trip of gates 5 to 7, which fails when the store does not answer."""
    refusal = exchange.refusal
    failed = trace.store_ended is None and refusal is not None and refusal.code is ErrorCode.STORE_UNAVAILABLE
    attributes: list[Attribute] = [
        ("db.system.name", "redis"),
        ("db.operation.name", "FCALL"),
        ("db.stored_procedure.name", "admit"),
    ]
    if refusal is not None and refusal.gate in (Gate.CONSENT, Gate.ACCOUNT, Gate.BUDGET):
        attributes.append(("mcp_sidecar.gate", refusal.gate.value))
    if failed:
        attributes.append(("error.type", exchange.code))
    return request._replace(
        name=_STORE,
        span_id=new_span_id(),
        began=trace.moment(trace.store_began or ended),
        ended=trace.moment(ended if trace.store_ended is None else trace.store_ended),
        attributes=tuple(attributes),
        failed=failed,
    )


@lru_cache(8)
def _server(url: str) -> tuple[Attribute, ...]:
    """Return host and port of the backend."""
    parts = urlsplit(url)
    return (("server.address", parts.hostname or ""), ("server.port", parts.port or _PORTS.get(parts.scheme, 0)))
