"""CORS: pages in a browser may send the headers of MCP clients, and read those that they need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from sidecar.doctor.rules.findings import Finding, Severity, ok, warn
from sidecar.doctor.rules.probe_answer import ProbeAnswer, cause_of
from sidecar.identity.invalid_token import shown

CHECK: Final = "cors"
SENT: Final = ("authorization", "content-type", "mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name")
"""Headers that browser clients send and that need a preflight."""
READ: Final = ("www-authenticate", "mcp-session-id")
"""Headers of answers that browser clients read."""
FOREIGN: Final = "https://doctor.invalid"
"""Origin that no operator allows."""
_METHODS: Final = ("POST", "GET", "DELETE")
_SAFE: Final = ("POST", "GET")  # methods that need no permission (Fetch, CORS-safelisted method)
_FIX: Final = "let only the sidecar answer CORS: remove the proxy's own, pass OPTIONS and Access-Control-* unchanged"


def judge_preflight(answer: ProbeAnswer, origin: str, severity: Severity) -> Iterator[Finding]:
    """Judge the answer to a preflight for a call.

    Args:
        answer: to OPTIONS.
        origin: of the page.
        severity: of a finding: `fail` for an origin that the operator named.
    """
    if not answer.good:
        says, fix = cause_of(answer)
        yield Finding(CHECK, severity, f"preflight from {origin}: {says}", fix)
        return
    found = list(_origin(answer, origin))
    headers, methods = _list(answer, "headers"), _list(answer, "methods")
    # The wildcard does not cover Authorization (Fetch, CORS-preflight fetch).
    missing = [name for name in SENT if name not in headers and (name == "authorization" or "*" not in headers)]
    if missing:
        found.append(f"the preflight does not allow {', '.join(missing)}")
    refused = [name for name in _METHODS if name not in _SAFE and not {name.lower(), "*"} & set(methods)]
    if refused:
        found.append(f"the preflight does not allow {', '.join(refused)}")
    yield from (Finding(CHECK, severity, says, _FIX) for says in found)
    if not found:
        yield ok(CHECK, f"preflight from {origin} is allowed")


def judge_readable(answer: ProbeAnswer, origin: str, severity: Severity) -> Iterator[Finding]:
    """Judge if a page can read the answer to a call without a token, and find the login."""
    if answer.problem is not None or answer.status != 401:
        yield Finding(CHECK, severity, f"call from {origin}: {cause_of(answer)[0]}", cause_of(answer)[1])
        return
    found = list(_origin(answer, origin))
    exposed = _list(answer, "expose")
    missing = [name for name in READ if name not in exposed and "*" not in exposed]
    if missing:
        found.append(f"pages cannot read {', '.join(missing)} (Access-Control-Expose-Headers)")
    yield from (Finding(CHECK, severity, says, _FIX) for says in found)
    if not found:
        yield ok(CHECK, f"pages of {origin} can read the challenge")


def judge_metadata(answer: ProbeAnswer, severity: Severity) -> Iterator[Finding]:
    """Judge if pages of any origin can read the metadata."""
    if answer.good:
        for says in _origin(answer, FOREIGN):
            yield Finding(CHECK, severity, f"{urlsplit(answer.url).path}: {says}", _FIX)


def judge_foreign(answer: ProbeAnswer) -> Iterator[Finding]:
    """Judge the answer to a call of a foreign page, which the sidecar refuses (DNS rebinding)."""
    if not answer.good and answer.status != 401:
        return  # refused, or lost before the guard
    yield warn(
        CHECK,
        f"a call from {FOREIGN} is answered {answer.status}: the guard against pages of other sites is off",
        "let the proxy pass Origin unchanged, and list real origins only in `origins`",
    )


def _origin(answer: ProbeAnswer, origin: str) -> Iterator[str]:
    values = answer.values("access-control-allow-origin")
    if len(values) > 1 or any("," in each for each in values):
        yield "Access-Control-Allow-Origin has two values: browsers refuse both"
    elif not values:
        yield f"no Access-Control-Allow-Origin for {origin}"
    elif values[0] not in ("*", origin):
        yield f"Access-Control-Allow-Origin is {shown(values[0])}, not {origin}"


def _list(answer: ProbeAnswer, kind: str) -> tuple[str, ...]:
    name = "access-control-expose-headers" if kind == "expose" else f"access-control-allow-{kind}"
    return tuple(each.strip().lower() for each in (answer.header(name) or "").split(","))
