"""Answer to a probe, and the cause of an answer that no client can use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.identity import issuer_json
from sidecar.identity.invalid_token import shown
from sidecar.protocol.meta import REFUSAL_KEY
from sidecar.protocol.sse import sse


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """Answer to one request of the doctor.

    Attributes:
        url: requested.
        status: 0 without an answer.
        headers: names in lower case, in the order of arrival.
        body: as far as it was read.
        problem: the reason why there is no whole answer.
        at: local time of its head, in seconds since the epoch.
    """

    url: str
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    problem: str | None = None
    at: float = 0.0

    def values(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        """Return a header as `fetch` and httpx give it to clients: repeated ones joined with commas."""
        values = self.values(name)
        return ", ".join(values) if values else None

    @property
    def good(self) -> bool:
        """True for a whole 2xx answer."""
        return self.problem is None and 200 <= self.status < 300

    @property
    def media_type(self) -> str:
        """Media type without parameters, in lower case."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @property
    def document(self) -> dict[str, Any] | None:
        """The JSON object in the body or in the last event with data; None without one."""
        data = self.body
        if self.media_type == sse.MEDIA_TYPE:
            lines = [line[5:] for line in data.splitlines() if line.startswith(b"data:") and line[5:].strip()]
            data = lines[-1] if lines else b""
        try:
            return issuer_json.parse_object(data)
        except issuer_json.IssuerJsonError:
            return None

    @property
    def refusal(self) -> Mapping[str, Any]:
        """The sidecar's machine detail of a refusal, in any of its shapes; empty without one."""
        document = self.document or {}
        for path in ((), ("error", "data"), ("result", "_meta", REFUSAL_KEY)):
            found: Any = document
            for name in path:
                found = found.get(name) if isinstance(found, dict) else None
            if isinstance(found, dict) and isinstance(found.get("code"), str):
                return found
        return {}

    @property
    def code(self) -> str | None:
        """The sidecar's code of a refusal; None for any other answer."""
        return self.refusal.get("code")

    @property
    def problem_or_status(self) -> str:
        """Short description for a finding."""
        if self.problem is not None:
            return self.problem
        return f"answered {self.status}" + (f" ({shown(self.code)})" if self.code else "")


Cause = tuple[str, str]
"""The cause of an answer, and its fix."""

_KEEP_HOST: Final = (
    "make the proxy pass the client's Host (nginx: proxy_set_header Host $host; Apache: ProxyPreserveHost On), or list "
    "the name that it sends in `hosts`"
)
_KEEP_PATH: Final = (
    "let the proxy pass the path unchanged (nginx: proxy_pass without a path; no strip-prefix), and give clients the "
    "URL that is `resource`, byte for byte"
)
_CODES: Final[Mapping[str, Cause]] = {
    "host_refused": ("the sidecar gets another Host than the client sent", _KEEP_HOST),
    "path_unknown": ("the sidecar gets another path than it serves", _KEEP_PATH),
    "origin_refused": (
        "the sidecar refuses this Origin",
        "add the page's origin to `origins`, and let the proxy pass Origin unchanged",
    ),
    "header_mismatch": (
        "the sidecar misses MCP headers that were sent, or gets other values",
        "let the proxy pass Mcp-Method, Mcp-Name, Mcp-Session-Id and MCP-Protocol-Version unchanged",
    ),
    "http_method_refused": ("the sidecar gets another HTTP method", "let the proxy pass POST, GET, DELETE and OPTIONS"),
    "issuer_unavailable": (
        "the sidecar cannot verify tokens now",
        "see /readyz and the log of the sidecar for the issuer's key set",
    ),
    "backend_unavailable": ("the sidecar cannot reach the backend", "see /readyz for `backend.url`"),
    "store_unavailable": ("the sidecar cannot reach its store", "see /readyz for `store.url`"),
}
_REDIRECTS: Final = range(300, 400)


def cause_of(answer: ProbeAnswer) -> Cause:
    """Return the cause of an answer that no client can use, and its fix."""
    if answer.problem is not None:
        return answer.problem, "check name, certificate, firewall and listener; clients get no further either"
    known = _CODES.get(answer.code or "")
    if known is not None:
        return f"{answer.problem_or_status}: {known[0]}", known[1]
    if answer.status in _REDIRECTS:
        # A query may hold a code or a state.
        target = (answer.header("location") or "nowhere").partition("?")[0]
        return f"answered {answer.status}, a redirect to {shown(target)}", (
            "give clients the URL that needs no redirect, or serve this one: clients lose the POST or the token on "
            "the way"
        )
    if answer.status == 404:
        return f"{answer.problem_or_status}, not by the sidecar: the path is routed elsewhere", (
            f"route it to the sidecar, /.well-known/ included; {_KEEP_PATH}"
        )
    if answer.status >= 500:
        return f"{answer.problem_or_status}: the sidecar is not reached or not ready", (
            "check the proxy's upstream, and /readyz of the sidecar"
        )
    return f"{answer.problem_or_status}{_excerpt(answer)}", (
        "look for a firewall, a login page or a bot check in front, and exempt this path and /.well-known/"
    )


def _excerpt(answer: ProbeAnswer) -> str:
    """Return the sentence of a JSON-RPC error or of problem JSON."""
    document = answer.document or {}
    error = document.get("error")
    text = error.get("message") if isinstance(error, dict) else document.get("detail")
    return f": {shown(text)}" if isinstance(text, str) else ""


def as_body(message: Mapping[str, Any]) -> bytes:
    """Encode a message of the doctor."""
    return json.dumps(message, separators=(",", ":")).encode()
