"""Patterns of one schema that may take too long for each byte of a caller's text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sidecar.config.documents.merging import Document, Path, Problem
from sidecar.policy.matching.pattern_threads import UNKNOWN, threads_of

MOST_THREADS: Final = 16
"""Threads of a pattern for texts of any length: more take longer than a fifth of a microsecond a byte."""
MOST_WORK: Final = 100_000
"""Threads times bytes of all other patterns of a tool: less than a millisecond."""

_WIDTH: Final = 4  # bytes of a character
_OPEN: Final = "^ at its start, repeats that cannot overlap, fewer repetitions"


def dear_patterns(document: Document, top: Path, found: Iterable[tuple[Path, Any]]) -> Iterator[Problem]:
    """Find patterns with many threads that are not limited to a few short texts.

    Args:
        document: the policy.
        top: path of the schema of arguments.
        found: all schemas in it, with their paths.
    """
    schemas = dict(found)
    left = MOST_WORK
    for path, schema in schemas.items():
        pattern = schema.get("pattern") if isinstance(schema, dict) else None
        threads = threads_of(pattern) if isinstance(pattern, str) else 0
        if threads <= MOST_THREADS:
            continue
        length, times = _count(schema, "maxLength"), _times(schemas, path, top)
        work = None if length is None or times is None else threads * _WIDTH * length * times
        if work is not None and work <= left:
            left -= work
            continue
        yield document.problem((*path, "pattern"), _fault(threads), _accepted(threads, times, left))


def _fault(threads: int) -> str:
    if threads == UNKNOWN:
        return "a pattern of this size, with repeats, may take too long for each character of a text"
    return f"repeats of this pattern overlap: a text may be at {threads} places of it at once, which takes too long"


def _accepted(threads: int, times: int | None, left: int) -> str:
    most = left // (threads * _WIDTH * (times or 1))
    if times is None:
        return f"{_OPEN}, or maxLength on a top-level property"
    return f"{_OPEN}, or maxLength: {most}" if most else f"{_OPEN}, or fewer such patterns in a tool"


def _times(schemas: dict[Path, Any], path: Path, top: Path) -> int | None:
    """Return how many texts of one call the schema at a path judges at most; None without a limit."""
    steps = path[len(top) :]
    if len(steps) == 2 and steps[0] == "properties":
        return 1
    if len(steps) == 3 and steps[0] == "properties" and steps[2] == "items":
        return _count(schemas[path[:-1]], "maxItems")
    return None


def _count(schema: Any, keyword: str) -> int | None:
    value = schema.get(keyword)
    return value if type(value) is int and value >= 0 else None
