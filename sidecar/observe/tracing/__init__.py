"""Tracing: which requests have spans, what do the spans say, and how do they reach a collector?

Span: a timed part of a request: the request itself, its trip to the store, its exchange with the backend. Trace: the
spans of all services for one request, which share a trace id. Sampled: chosen for export. Collector: the service that
takes the spans, by OTLP over HTTP.

`traceparent` reads the header of W3C Trace Context, `call_trace` holds the times of one sampled request, `spans`
describes it by the conventions of OpenTelemetry, `tracer` samples, `exporter` sends from a thread, `otlp` encodes.
Start with `tracer.Tracer`. Without the setting `tracing` none of this runs.

Imports `observe` only; `otlp` needs the extra `otel`, and is imported when tracing is on.
"""
