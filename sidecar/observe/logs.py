"""Log lines on stdout: one JSON object, or one readable line, in ASCII, at most 4 KiB, written at once by a thread.

A pipe takes up to 4 KiB in one piece (PIPE_BUF), so lines of several workers do not mix. Records of libraries are
logged too, without tracebacks, which quote the input.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol, Self

import orjson

from sidecar.observe.formats.console import console_line
from sidecar.observe.formats.palette import is_terminal, palette_for
from sidecar.observe.redact import HIDDEN, sentence
from sidecar.observe.writer import LineWriter

MAX_LINE: Final = 4096
"""Bytes of one line with its line break; a larger write to a pipe may mix with one of another process."""
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FORMATS: Final = ("json", "console", "auto")
FLUSH_WITHIN: Final = 2.0
"""Seconds for writing the last lines when the process ends."""
_REPEATS: Final = 10  # lines of one place in the code ...
_PER: Final = 10.0  # ... in this number of seconds
_PLACES: Final = 1000  # places remembered
# Fields to remove from a line that is too long, in this order.
_EXPENDABLE: Final = (
    *("notes", "shadow", "message", "scopes", "detail", "rule", "credits", "issuer", "client_id", "account"),
    *("trace_id", "plan", "revision", "method", "tool"),
)

Fields = Mapping[str, Any]


class LogOptions(Protocol):
    """Settings of the log, as the config has them."""

    @property
    def level(self) -> str:
        """Least level that is written."""

    @property
    def format(self) -> str:
        """One of json, console, auto."""

    @property
    def sample(self) -> float:
        """Part of the free calls without a problem that have a line."""


class Lines:
    """Log lines: a queue, from which a thread writes them.

    Standard output may be a pipe that is not read, or a file on a mount that does not answer. Lines then wait in the
    queue; when it is full, new lines are dropped and counted. No call waits.

    Args:
        level: lines below it are not written: debug, info, warning or error.
        fd: the file descriptor.
        dropped: called for each line that could not be written whole; may be set later. Also called in the thread.
        clock: seconds since the epoch.
        format: json, console or auto.

    Attributes:
        sample: part of the free calls without a problem that have a line; `Recorder` chooses them.
        plain: True when a line is what `encode` returns.
        put: queues one line as it is, with its line end.
    """

    def __init__(
        self,
        level: str = "info",
        fd: int = 1,
        dropped: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        format: str = "json",
    ) -> None:
        self.threshold = LEVELS[level]
        self.sample = 1.0
        self.dropped = dropped
        self._fd = fd
        self._encode = encoder(format, fd)
        self.plain = self._encode is encode
        self._clock = clock
        self._second = (-1, "")
        self._moment = (-1, "")
        self._writer = LineWriter(fd, self._drop)
        self.put: Callable[[bytes], None] = self._writer.put

    @classmethod
    def of(cls, options: LogOptions, fd: int = 1) -> Self:
        """Make a log by the settings."""
        made = cls(fd=fd)
        made.follow(options)
        return made

    def follow(self, options: LogOptions) -> None:
        """Write by these settings from now on."""
        self.threshold = LEVELS[options.level]
        self.sample = options.sample
        self._encode = encoder(options.format, self._fd)
        self.plain = self._encode is encode

    def wants(self, level: str) -> bool:
        """Return whether a line of this level is written."""
        return LEVELS[level] >= self.threshold

    def event(self, name: str, level: str = "info", **fields: str | float | bool | None) -> None:
        """Log an event that is no call, such as a start or a reload. Text is redacted."""
        if self.wants(level):
            cleaned = {key: sentence(value) if isinstance(value, str) else value for key, value in fields.items()}
            self.write(level, name, cleaned)

    def write(self, level: str, event: str, fields: Fields) -> None:
        """Queue one line of fields that need no redaction. A full disk or closed pipe loses the line only."""
        # As `render`, without its call: every request writes a line.
        self.put(self._encode({"ts": self.moment(), "level": level, "event": event, **fields}))

    def render(self, level: str, event: str, fields: Fields) -> bytes:
        """Return one line, of this moment."""
        return self._encode({"ts": self.moment(), "level": level, "event": event, **fields})

    def moment(self) -> str:
        """Return the time in milliseconds; several calls end in one, and most of it is formatted once a second."""
        milliseconds = int(self._clock() * 1000)
        moment, text = self._moment
        if milliseconds != moment:
            second, start = self._second
            if milliseconds // 1000 != second:
                second = milliseconds // 1000
                start = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
                self._second = second, start  # both at once, as below: other threads log, too
            text = f"{start}.{milliseconds % 1000:03d}Z"
            self._moment = milliseconds, text
        return text

    def flush(self, within: float = FLUSH_WITHIN) -> bool:
        """Wait until everything queued is written, at most `within` seconds; return whether it is.

        Blocks: not for the event loop.
        """
        return self._writer.flush(within)

    def _drop(self) -> None:
        self.dropped()


def encoder(format: str, fd: int) -> Callable[[Fields], bytes]:
    """Return the function that makes lines of fields, in a format: json, console, or auto for a descriptor."""
    if format == "console" or (format == "auto" and is_terminal(fd)):
        return partial(console_line, palette=palette_for(fd), limit=MAX_LINE)
    return encode


def encode(fields: Fields) -> bytes:
    """Return one line: ASCII, so that terminals and collectors read it alike, and short enough."""
    line = _dump(fields)
    if len(line) < MAX_LINE:
        return line + b"\n"
    kept = dict(fields)
    for name in _EXPENDABLE:
        if kept.get(name) is None:
            continue
        kept[name] = None
        kept["truncated"] = True
        line = _dump(kept)
        if len(line) < MAX_LINE:
            return line + b"\n"
    return _dump({name: kept.get(name) for name in ("ts", "level", "event")} | {"truncated": True}) + b"\n"


def _dump(fields: Fields) -> bytes:
    try:
        line = orjson.dumps(fields)
    except TypeError:  # a lone surrogate, or an integer beyond 64 bits
        line = b"\x7f"
    if line.isascii() and b"\x7f" not in line:
        return line
    return json.dumps(fields, separators=(",", ":"), default=_unknown).replace("\x7f", "\\u007f").encode()


def _unknown(value: object) -> str:
    return f"{HIDDEN} {type(value).__name__}"


def fault_place(error: BaseException) -> str:
    """Return the error's type and place, without the message, which may quote the input."""
    place, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if f"{os.sep}sidecar{os.sep}" in code.co_filename or not place:
            folder, name = os.path.split(code.co_filename)
            place = f" at {os.path.basename(folder)}/{name}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__}{place}"


def install(lines: Lines, logger: logging.Logger | None = None) -> logging.Handler:
    """Send the records of libraries to `lines`, and keep logging's own failures from printing their arguments.

    Args:
        lines: the destination.
        logger: the root logger by default; its other handlers are removed.
    """
    target = logger if logger is not None else logging.getLogger()
    handler = _LibraryHandler(lines)
    for old in list(target.handlers):
        target.removeHandler(old)
    target.addHandler(handler)
    # Below warning, libraries log their input.
    target.setLevel(logging.WARNING)  # the handler asks for the level in force
    logging.raiseExceptions = False
    _keep_off_stderr(lines)
    return handler


def _keep_off_stderr(lines: Lines) -> None:
    """Log the errors that Python would print on standard error, which may also be a pipe that is not read."""

    def unraisable(found: sys.UnraisableHookArgs) -> None:
        fault = type(found.exc_type).__name__ if found.exc_value is None else fault_place(found.exc_value)
        lines.event("library", "error", logger="python", message="an exception was ignored", fault=fault)

    def thread(found: threading.ExceptHookArgs) -> None:
        fault = found.exc_type.__name__ if found.exc_value is None else fault_place(found.exc_value)
        lines.event("library", "error", logger="python", message="a thread has failed", fault=fault)

    sys.unraisablehook = unraisable
    threading.excepthook = thread
    logging.captureWarnings(True)


class _LibraryHandler(logging.Handler):
    """Library records: the template without its arguments, because the arguments are data.

    One place in the code writes at most ten lines in ten seconds: a process out of descriptors would
    otherwise fill the disk with one sentence.
    """

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        if not self._lines.wants(level) or self._repeated(record):
            return
        fields: dict[str, Any] = {
            "logger": record.name,
            "message": sentence(record.msg if isinstance(record.msg, str) else type(record.msg).__name__),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            fields["fault"] = fault_place(error)
        self._lines.write(level, "library", fields)

    def _repeated(self, record: logging.LogRecord) -> bool:
        place = (record.pathname, record.lineno)
        now = time.monotonic()
        since, count = self._seen.get(place, (now, 0))
        if now - since >= _PER:
            since, count = now, 0
        if len(self._seen) >= _PLACES:
            self._seen.clear()
        self._seen[place] = (since, count + 1)
        return count >= _REPEATS
