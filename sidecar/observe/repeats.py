"""Log events that may repeat: one line at once, then at most one a minute with a count."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from sidecar.observe.logs import Lines

EVERY: Final = 60.0
"""Seconds between two lines of the same event with the same fields."""
_REMEMBERED: Final = 500

Value = str | float | bool | None


@dataclass(slots=True)
class _Seen:
    written: float
    level: str
    fields: dict[str, Value]
    plain: bool
    count: int = 0  # occurrences since that line


class Repeats:
    """Log of events that may repeat: the first at once, repetitions once a minute with their number (`repeated`).

    Args:
        lines: the log.
        clock: seconds that never go back.
    """

    def __init__(self, lines: Lines, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._clock = clock
        self._seen: dict[tuple[str, Hashable], _Seen] = {}

    def event(
        self, name: str, level: str = "info", *, key: Hashable = None, plain: bool = False, **fields: Value
    ) -> None:
        """Log an event, or count it if its line was written less than a minute ago.

        Args:
            name: the event.
            level: of its line.
            key: identifies repetitions; by default all fields.
            plain: whether the fields need no redaction.
            fields: of its line; a line with a count has those of the last occurrence.
        """
        now = self._clock()
        whole = (name, tuple(sorted(fields.items())) if key is None else key)
        seen = self._seen.get(whole)
        if seen is None:
            if len(self._seen) >= _REMEMBERED:
                self.flush()
                self._forget_oldest()
            self._seen[whole] = seen = _Seen(now, level, fields, plain)
            self._line(name, seen, fields)
            return
        seen.level, seen.fields = level, fields
        seen.count += 1
        self._write(name, seen, now)

    def flush(self) -> None:
        """Write the counts that are due; call it every few seconds."""
        now = self._clock()
        for whole, seen in list(self._seen.items()):
            if seen.count:
                self._write(whole[0], seen, now)
            elif now - seen.written >= EVERY:
                del self._seen[whole]

    def _write(self, name: str, seen: _Seen, now: float) -> None:
        if now - seen.written < EVERY:
            return
        self._line(name, seen, {**seen.fields, "repeated": seen.count})
        seen.written, seen.count = now, 0

    def _line(self, name: str, seen: _Seen, fields: dict[str, Value]) -> None:
        if not seen.plain:
            self._lines.event(name, seen.level, **fields)
        elif self._lines.wants(seen.level):
            self._lines.write(seen.level, name, fields)

    def _forget_oldest(self) -> None:
        while len(self._seen) >= _REMEMBERED:
            del self._seen[next(iter(self._seen))]
