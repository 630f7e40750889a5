"""Log lines and metrics of the admin API: a line for each change, and for callers that are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.admin_api.api_problems import ApiCode, ApiProblem
from sidecar.observe.logs import Lines, fault_place
from sidecar.observe.metrics import Metrics
from sidecar.observe.redact import cut, identifier
from sidecar.observe.repeats import Repeats


class ApiLog:
    """Log of the API.

    Args:
        lines: the log.
        repeats: its events that repeat.
        metrics: count requests and problems.
    """

    def __init__(self, lines: Lines, repeats: Repeats, metrics: Metrics) -> None:
        self._lines = lines
        self._repeats = repeats
        self._metrics = metrics

    def counted(self, operation: str) -> None:
        """Count a request that its caller may make."""
        self._metrics.api_requests.labels(operation).inc()

    def answered(self, problem: ApiProblem) -> None:
        """Count a problem; write the store's words, at most once a minute."""
        self._metrics.api_problems.labels(problem.code.id).inc()
        if problem.log is not None:
            self._repeats.event("store_unavailable", "error", problem=problem.log)

    def changed(self, request_id: str, program: str, operation: str, change: Mapping[str, Any]) -> None:
        """Write the line of a change."""
        if self._lines.wants("info"):
            fields = {name: _field(value) for name, value in change.items()}
            about = {"request_id": request_id, "program": program, "operation": operation}
            self._lines.write("info", "admin_api_change", {**about, **fields})

    def refused(self, code: ApiCode, program: str | None = None) -> None:
        """Write, at most once a minute, that callers are refused."""
        self._repeats.event("admin_api_refused", "warning", plain=True, code=code.id, program=program)

    def failed(self, request_id: str, error: BaseException) -> None:
        """Write the place of a fault."""
        self._lines.write("error", "admin_api_failed", {"request_id": request_id, "fault": fault_place(error)})


def _field(value: Any) -> Any:
    """Return a value for the log; names are from requests, and may be URLs with a query."""
    if isinstance(value, str):
        return identifier(value)
    return cut(", ".join(value), 300) if isinstance(value, list) else value
