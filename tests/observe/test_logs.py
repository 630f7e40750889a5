"""Lines: one write each, ASCII, never longer than a pipe takes in one piece."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.observe.logs import MAX_LINE, Lines, encode, fault_place, install


class Pipe:
    """Both ends of a pipe; what was written comes back line by line."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.log: Lines | None = None

    def lines_to(self, **options: Any) -> Lines:
        """A log that writes here; what was given to it is awaited before the pipe is read."""
        self.log = Lines(fd=self.writer, **options)
        return self.log

    def raw(self) -> bytes:
        assert self.log is None or self.log.flush(10)
        try:
            return os.read(self.reader, 1 << 20)
        except BlockingIOError:
            return b""

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.raw().splitlines()]

    def close(self) -> None:
        if self.log is not None:
            self.log.flush()
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_an_event_is_one_line(pipe: Pipe):
    lines = pipe.lines_to(clock=lambda: 1_795_000_000.5)
    lines.event("reload", ok=True, revision="abc", why="cannot read https://x/y?CANARY")
    assert pipe.lines() == [
        {
            "ts": "2026-11-18T11:06:40.500Z",
            "level": "info",
            "event": "reload",
            "ok": True,
            "revision": "abc",
            "why": "cannot read https://x/y?[hidden]",
        }
    ]


@pytest.mark.parametrize(
    ("level", "written"),
    [("debug", ["debug", "info", "error"]), ("info", ["info", "error"]), ("warning", ["error"]), ("error", ["error"])],
)
def test_lines_below_the_level_are_not_written(pipe: Pipe, level: str, written: list[str]):
    lines = pipe.lines_to(level=level)
    for each in ("debug", "info", "error"):
        lines.event("e", each)
    assert [line["level"] for line in pipe.lines()] == written


@given(st.dictionaries(st.sampled_from(["notes", "account", "scopes", "rule", "method"]), st.text(max_size=3000)))
def test_every_line_is_ascii_and_fits(fields: dict[str, str]):
    line = encode({"ts": "now", "level": "info", "event": "call", **fields})
    assert len(line) <= MAX_LINE
    assert line.isascii()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert not any(byte < 32 or byte == 127 for byte in line[:-1])
    json.loads(line)


def test_unknown_fields_that_are_too_long_are_dropped():
    line = json.loads(encode({"ts": "now", "level": "info", "event": "e", "surprise": "x" * 5000}))
    assert line == {"ts": "now", "level": "info", "event": "e", "truncated": True}


def test_a_long_line_drops_the_least_important_fields():
    account = "a" * 256
    line = json.loads(encode({"event": "call", "account": account, "scopes": "s" * 3900, "notes": ["n" * 300]}))
    assert line == {"event": "call", "account": account, "scopes": None, "notes": None, "truncated": True}


@pytest.mark.parametrize("value", ["\ud800", 2**70, "a\n\x1b[31m\x7f\u2028é", object(), float("nan")])
def test_no_value_breaks_a_line(value: object):
    line = encode({"event": "call", "value": value})
    assert line.isascii()
    assert json.loads(line)["event"] == "call"


@pytest.fixture
def logger(pipe: Pipe) -> Iterator[logging.Logger]:
    logger = logging.Logger("library")
    raises, hooks = logging.raiseExceptions, (sys.unraisablehook, threading.excepthook)
    install(pipe.lines_to(), logger)
    yield logger
    logging.raiseExceptions = raises
    sys.unraisablehook, threading.excepthook = hooks
    logging.captureWarnings(False)


def test_libraries_log_neither_arguments_nor_messages_of_exceptions(logger: logging.Logger, pipe: Pipe):
    try:
        raise ValueError("CANARY")
    except ValueError:
        logger.exception("failed for %s", "CANARY")
    logger.warning("Bearer CANARY")
    logger.error(ValueError("CANARY"))
    logger.info("CANARY")
    raw = pipe.raw()
    assert b"CANARY" not in raw
    first, second, third = [json.loads(line) for line in raw.splitlines()]
    assert (first["level"], first["event"], first["logger"]) == ("error", "library", "library")
    assert first["message"] == "failed for %s"
    assert first["fault"].startswith("ValueError at observe/test_logs.py:")
    assert second["level"] == "warning"
    assert third["message"] == "ValueError"


def test_a_failure_to_log_prints_nothing(logger: logging.Logger, pipe: Pipe, capfd: pytest.CaptureFixture[str]):
    logger.error("%d %d", "CANARY")
    assert "CANARY" not in "".join(capfd.readouterr())
    assert b"CANARY" not in pipe.raw()


def test_one_place_cannot_fill_the_disk(logger: logging.Logger, pipe: Pipe, monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr("sidecar.observe.logs.time.monotonic", lambda: now)
    for round_ in range(2):
        now += 11.0 * round_
        for _ in range(50):
            logger.error("out of descriptors")
        logger.error("another place is heard")
        assert len(pipe.lines()) == 11


def test_install_takes_over_the_logger_it_is_given(logger: logging.Logger, pipe: Pipe):
    logger.addHandler(logging.StreamHandler())
    handler = install(pipe.lines_to(), logger)
    assert logger.handlers == [handler]


def test_output_for_standard_error_is_logged(logger: logging.Logger, pipe: Pipe, capfd: pytest.CaptureFixture[str]):
    """Standard error may be a pipe that is not read: printing to it blocks."""

    class Noisy:
        def __del__(self) -> None:
            raise ValueError("CANARY")

    def fail() -> None:
        raise ValueError("CANARY")

    Noisy()
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    raw = pipe.raw()
    assert b"CANARY" not in raw
    assert [json.loads(line)["fault"].partition(" ")[0] for line in raw.splitlines()] == ["ValueError"] * 2
    assert capfd.readouterr() == ("", "")


def test_a_fault_has_a_place_and_no_message():
    try:
        Lines("CANARY")
    except KeyError as error:
        place = fault_place(error)
    assert place.startswith("KeyError at observe/logs.py:")
    assert place.endswith(" in __init__")
    assert fault_place(ValueError("CANARY")) == "ValueError"


def test_the_time_of_a_line_is_its_own_in_the_same_millisecond_and_in_the_next_ones():
    now = iter([0.0, 0.0004, 0.001, 0.999, 1.0, 1.0, 0.999])
    lines = Lines(fd=-1, clock=lambda: next(now))
    seconds = [lines.moment().removeprefix("1970-01-01T00:00:") for _ in range(7)]
    assert seconds == ["00.000Z", "00.000Z", "00.001Z", "00.999Z", "01.000Z", "01.000Z", "00.999Z"]
