"""Clocks of this machine, of the server and of the authorization servers, by the `Date` of their answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from typing import Final

from sidecar.doctor.rules.findings import Finding, fail, ok, unchecked, warn
from sidecar.doctor.rules.probe_answer import ProbeAnswer

CHECK: Final = "clock"
LEEWAY: Final = 10.0
"""Seconds that `leeway` allows by default."""
_EXACT: Final = 5.0  # seconds that are no finding: Date has whole seconds, and answers travel
_NTP: Final = "synchronise the clock (NTP)"


def skew_of(answer: ProbeAnswer) -> float | None:
    """Return the seconds by which a server's clock is ahead; None where the answer does not show it."""
    date, age = answer.header("date"), answer.header("age") or "0"
    if date is None or answer.problem is not None or not age.isdecimal() or len(age) > 9:
        return None
    try:
        return parsedate_to_datetime(date).timestamp() + int(age) - answer.at
    except (ValueError, TypeError, OverflowError):
        return None


def judge_clocks(server: ProbeAnswer, issuers: Iterable[tuple[str, ProbeAnswer]]) -> Iterator[Finding]:
    """Judge the clocks.

    Args:
        server: its answer to a POST, which no cache gives.
        issuers: identifiers, each with an answer of its server.
    """
    skews = {"the server": skew_of(server)}
    skews |= {f"the issuer {issuer}": skew_of(answer) for issuer, answer in issuers}
    known = {name: skew for name, skew in skews.items() if skew is not None}
    if "the server" not in known:
        yield unchecked(CHECK, "the server's answer has no usable Date", "let the proxy pass Date")
        return
    if len(known) > 1 and max(known.values()) - min(known.values()) <= _EXACT < abs(known["the server"]):
        says = f"server and issuers agree, and this machine's clock is {abs(known['the server']):.0f} s off"
        yield warn(CHECK, says, f"{_NTP} of this machine")
        return
    found = [_finding(name, skew) for name, skew in known.items() if abs(skew) > _EXACT]
    yield from found or [ok(CHECK, f"within {_EXACT:.0f} s: {', '.join(known)}")]


def _finding(name: str, skew: float) -> Finding:
    says = f"the clock of {name} is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) <= LEEWAY:
        return warn(CHECK, says, f"{_NTP} of its hosts")
    fix = f"{_NTP} of its hosts and proxies: tokens count as expired, or as not valid yet"
    return fail(CHECK, f"{says}, more than `leeway` allows", fix)
