"""Settings of logs and traces."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sidecar.config.documents.merging import FindingsError, Model
from sidecar.config.settings.addresses import HttpUrl
from sidecar.config.settings.scalars import BackendHeaders, FilePath

Rate = Annotated[float, Field(ge=0, le=1)]
"""Part of all, from 0 to 1."""


class Log(Model):
    """Log of calls and events on stdout."""

    format: Literal["json", "console", "auto"] = "json"
    """`console`: for people, in colour on a terminal; `auto`: `console` on a terminal, else `json`."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    sample: Rate = 1.0
    """Part of the free calls without a problem that have a line; all others have one."""


class TracingTls(Model):
    """TLS of the connection to the collector."""

    ca: FilePath
    """PEM file of the authorities of the collector's certificate; default: the system's."""


class TracingSettings(Model):
    """Export of traces by OTLP; needs the extra `otel`."""

    endpoint: HttpUrl
    """URL of the collector for traces (OTLP over HTTP, Protocol Buffers), such as `http://127.0.0.1:4318/v1/traces`."""
    sample: Rate = 0.1
    """Part of the traces that begin here; a caller with a valid token decides about its own."""
    headers: BackendHeaders = Field(default_factory=dict, repr=False)
    """Headers added to each export; may be secret."""
    service: str = Field(default="mcp-policy-sidecar", min_length=1, max_length=128)
    """`service.name` of the spans."""
    tls: TracingTls | None = None

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        if self.tls is not None and not self.endpoint.startswith("https:"):
            raise FindingsError([(("tls",), "not used with an http:// URL", "an https:// URL, or no tls")])
        return self
