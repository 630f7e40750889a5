"""Formats of `/metrics`: OpenMetrics 1.0 where the scraper's `Accept` names it, else the text format of Prometheus."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple

from prometheus_client import Metric, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

MAX_SAMPLES: Final = 250
"""Samples of one part of the body: a few milliseconds."""

_END: Final = b"# EOF\n"
_HEADER: Final = re.compile(rb"\A(?:# [^\n]*\n)+")  # help and type of a metric, once
_OPENMETRICS: Final = "application/openmetrics-text"
_ANY: Final = ("text/plain", "text/*", "*/*")
_VERSIONS: Final = ("1.0.0", "0.0.1")  # the second is what Prometheus calls the drafts that 1.0.0 is compatible with
_MAX_ACCEPT: Final = 2_000  # characters that are read
_ENCODERS: Final[dict[str, Callable[[Collector], bytes]]] = {
    TEXT_TYPE: generate_latest,
    OPENMETRICS_TYPE: partial(openmetrics.generate_latest, version="1.0.0"),
}


class Exposition(NamedTuple):
    """Body of a scrape with its media type.

    The parts of the body are short to make, so that calls can be served between them.
    """

    content_type: str
    parts: Iterator[bytes]


def expose(metrics: Collector, accept: str) -> Exposition:
    """Return the metrics in the format that a request prefers; only OpenMetrics has exemplars.

    Args:
        metrics: registry, or a collector of several processes.
        accept: the request's `Accept`; empty without one.
    """
    content_type = negotiated(accept)
    return Exposition(content_type, _parts(metrics, content_type))


def _parts(metrics: Collector, content_type: str) -> Iterator[bytes]:
    encode = _ENCODERS[content_type]
    for family in metrics.collect():
        for first in range(0, max(1, len(family.samples)), MAX_SAMPLES):
            part = Metric(family.name, family.documentation, family.type, family.unit)
            part.samples = family.samples[first : first + MAX_SAMPLES]
            text = encode(_Collected(part)).removesuffix(_END)
            yield text if first == 0 else _HEADER.sub(b"", text)
    if content_type == OPENMETRICS_TYPE:
        yield _END


class _Collected(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


def negotiated(accept: str) -> str:
    """Return the media type for a request's `Accept` (RFC 9110, section 12.5.1); the text format for all others."""
    text, open_metrics = 0.0, 0.0
    for media_range in accept[:_MAX_ACCEPT].lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        quality = _quality(given.get("q", "1"))
        if name == _OPENMETRICS and given.get("version", "1.0.0").strip('"') in _VERSIONS:
            open_metrics = max(open_metrics, quality)
        elif name in _ANY:
            text = max(text, quality)
    return OPENMETRICS_TYPE if open_metrics > 0 and open_metrics >= text else TEXT_TYPE


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
