"""Numbers, times and durations as people read them, in English and UTC. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from sidecar.account_page.web.markup import Markup, fragment, tag

_UNITS = (("days", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def number(value: int) -> str:
    """Return an integer with a comma between thousands."""
    return f"{value:,}"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 credit`, `2 credits`."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def span(seconds: int) -> str:
    """Return a duration in its two largest units: `1 day 22 h`, `3 min`."""
    left, parts = max(0, seconds), []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}" if count > 1 else f"1 {unit.removesuffix('s') or unit}")
    return " ".join(parts[:2]) or "now"


def moment(milliseconds: int | None) -> Markup:
    """Return a time; "unknown" for none, or for one that no calendar has."""
    try:
        if milliseconds is None:
            raise ValueError
        at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return fragment("unknown")
    return tag("time", f"{at:%Y-%m-%d %H:%M} UTC", datetime=f"{at:%Y-%m-%dT%H:%M:%SZ}")
