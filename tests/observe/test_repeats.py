"""Events that repeat: one line at once, then one a minute with a count."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.observe.logs import Lines
from sidecar.observe.repeats import EVERY, Repeats


class Log:
    """Lines into a pipe, and a clock that the test moves."""

    def __init__(self, reading: int, writing: int) -> None:
        self.now = 0.0
        self._reading = reading
        self.lines = Lines(fd=writing)
        self.repeats = Repeats(self.lines, clock=lambda: self.now)

    def read(self) -> list[dict[str, Any]]:
        """The lines since the last look, without their times."""
        self.lines.flush()
        lines = [json.loads(line) for line in os.read(self._reading, 65536).splitlines()]
        return [{key: value for key, value in line.items() if key != "ts"} for line in lines]


@pytest.fixture
def log() -> Iterator[Log]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    made = Log(reading, writing)
    yield made
    made.lines.flush()
    os.close(reading)
    os.close(writing)


def nothing(log: Log) -> bool:
    try:
        return log.read() == []
    except BlockingIOError:
        return True


def test_the_first_occurrence_is_written_at_once(log: Log):
    log.repeats.event("lost", "warning", problem="away")
    assert log.read() == [{"level": "warning", "event": "lost", "problem": "away"}]


def test_repetitions_are_counted_for_a_minute(log: Log):
    for second in range(59):
        log.now = float(second)
        log.repeats.event("lost", problem="away")
    assert len(log.read()) == 1
    log.now = EVERY
    log.repeats.event("lost", problem="away")
    assert log.read() == [{"level": "info", "event": "lost", "problem": "away", "repeated": 59}]


def test_a_count_is_written_even_if_the_event_does_not_recur(log: Log):
    log.repeats.event("lost")
    log.repeats.event("lost")
    log.read()
    log.repeats.flush()
    assert nothing(log)
    log.now = EVERY
    log.repeats.flush()
    assert [line["repeated"] for line in log.read()] == [1]
    log.now = 3 * EVERY
    log.repeats.flush()
    assert nothing(log)


def test_another_problem_is_another_event(log: Log):
    log.repeats.event("lost", problem="away")
    log.repeats.event("lost", problem="refused")
    assert [line["problem"] for line in log.read()] == ["away", "refused"]


def test_occurrences_can_share_a_key(log: Log):
    log.repeats.event("lost", key="backend", problem="away")
    log.repeats.event("lost", key="backend", problem="refused")
    assert len(log.read()) == 1
    log.now = EVERY
    log.repeats.flush()
    assert [(line["problem"], line["repeated"]) for line in log.read()] == [("refused", 1)]


def test_an_event_that_stopped_for_a_minute_is_written_at_once_again(log: Log):
    log.repeats.event("lost")
    log.read()
    log.now = EVERY
    log.repeats.flush()
    log.repeats.event("lost")
    assert log.read() == [{"level": "info", "event": "lost"}]


def test_text_is_redacted_unless_it_is_plain(log: Log):
    log.repeats.event("a", problem="at https://x:secret@example.com")
    log.repeats.event("b", plain=True, problem="at production-valkey-2026-11-primary")
    first, second = log.read()
    assert "secret" not in first["problem"]
    assert second["problem"] == "at production-valkey-2026-11-primary"


def test_the_memory_is_bounded(log: Log):
    for number in range(2000):
        log.repeats.event("lost", problem=str(number))
        log.read()
    assert len(log.repeats._seen) <= 500
