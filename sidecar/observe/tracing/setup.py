"""Setting up of tracing from the settings, with the packages of the extra `otel`."""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from sidecar.observe.metrics import Metrics
from sidecar.observe.redact import sentence
from sidecar.observe.repeats import Repeats
from sidecar.observe.tracing.exporter import SpanExporter, SpanOutcome
from sidecar.observe.tracing.tracer import Tracer

NOT_INSTALLED: Final = "needs the package opentelemetry-proto, which is not installed"
HOW_TO_INSTALL: Final = "pip install 'mcp-policy-sidecar[otel]', or no tracing"


class _Tls(Protocol):
    @property
    def ca(self) -> Path: ...


class TracingOptions(Protocol):
    """Settings of tracing, as the config has them."""

    @property
    def endpoint(self) -> str:
        """URL of the collector for traces."""

    @property
    def sample(self) -> float:
        """Part of the traces that begin here."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers added to each export; may be secret."""

    @property
    def service(self) -> str:
        """Name of the service in its spans."""

    @property
    def tls(self) -> _Tls | None:
        """TLS of the connection to the collector."""


def is_installed() -> bool:
    """Return True when the extra `otel` is installed."""
    try:
        return importlib.util.find_spec("opentelemetry.proto") is not None
    except (ImportError, ValueError):
        return False


def start_tracing(options: TracingOptions, metrics: Metrics, repeats: Repeats) -> tuple[Tracer, SpanExporter]:
    """Make a tracer and its exporter to the collector; needs a running event loop.

    Args:
        options: the settings.
        metrics: count the outcomes of spans.
        repeats: gets the events.

    Raises:
        OSError: the file of the authorities cannot be read.
    """
    from sidecar.observe.tracing.otlp import SpanEncoder, rejected_spans  # only here: it needs the extra

    tls = None
    if options.endpoint.startswith("https:"):
        tls = ssl.create_default_context(cafile=None if options.tls is None else options.tls.ca)
    for outcome in SpanOutcome:
        metrics.spans.labels(outcome.value)
    exporter = SpanExporter(
        *(options.endpoint, SpanEncoder(options.service), rejected_spans),
        headers=options.headers,
        tls=tls,
        counted=lambda outcome, number: metrics.spans.labels(outcome.value).inc(number),
        reported=_Reports(asyncio.get_running_loop(), repeats),
    )
    return Tracer(options.sample, exporter.put), exporter


class _Reports:
    """Reports of the exporter's thread, handed to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, repeats: Repeats) -> None:
        self._loop, self._repeats, self._failing = loop, repeats, False

    def __call__(self, problem: str | None) -> None:
        if problem is None and not self._failing:
            return
        self._failing = problem is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._report, problem)

    def _report(self, problem: str | None) -> None:
        if problem is None:
            self._repeats.event("spans_exported_again")
        else:
            self._repeats.event("spans_not_exported", "warning", plain=True, problem=sentence(problem))
