"""Encoding of spans by OTLP 1, as Protocol Buffers. Needs the extra `otel`."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, SpanFlags, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from sidecar import __version__
from sidecar.observe.tracing.spans import Attribute, Span
from sidecar.observe.tracing.traceparent import TraceParent

_SAMPLED = 1
_LOCAL = _SAMPLED | SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE = _LOCAL | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


class SpanEncoder:
    """Encoder of the spans of one process.

    Args:
        service: `service.name` of the process.
    """

    def __init__(self, service: str) -> None:
        named: tuple[Attribute, ...] = (
            ("service.name", service),
            ("service.version", __version__),
            ("service.instance.id", secrets.token_hex(8)),
        )
        self._resource = Resource(attributes=map(_attribute, named))
        self._scope = InstrumentationScope(name="mcp-policy-sidecar", version=__version__)

    def encode(self, spans: Iterable[Span]) -> bytes:
        """Return the body of a request to a collector."""
        scoped = ScopeSpans(scope=self._scope, spans=map(_message, spans))
        request = ExportTraceServiceRequest(
            resource_spans=[ResourceSpans(resource=self._resource, scope_spans=[scoped])]
        )
        return bytes(request.SerializeToString())


def rejected_spans(answer: bytes) -> int:
    """Return how many spans a collector has rejected, by the body of its answer with status 200."""
    try:
        return int(ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans)
    except DecodeError:  # the collector has taken them all the same
        return 0


def _message(span: Span) -> SpanMessage:
    return SpanMessage(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id or ""),
        flags=_REMOTE if span.remote else _LOCAL,
        name=span.name,
        kind=span.kind,  # type: ignore[arg-type]
        start_time_unix_nano=span.began,
        end_time_unix_nano=span.ended,
        attributes=map(_attribute, span.attributes),
        links=[] if span.link is None else [_link(span.link)],
        status=Status(code=Status.STATUS_CODE_ERROR) if span.failed else None,
    )


def _link(named: TraceParent) -> SpanMessage.Link:
    trace_id, span_id = bytes.fromhex(named.trace_id), bytes.fromhex(named.parent_id)
    return SpanMessage.Link(trace_id=trace_id, span_id=span_id, flags=int(named.flags, 16) | _REMOTE)


def _attribute(pair: Attribute) -> KeyValue:
    key, value = pair
    return KeyValue(
        key=key, value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    )
