"""Lines on stdout: each one JSON object in ASCII, at most 4 KiB, written at once.

A pipe takes up to 4 KiB in one piece (PIPE_BUF), so lines of several workers do not mix. What the
libraries log passes through here too, without tracebacks: those quote what was being read.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from sidecar.observe.redact import HIDDEN, sentence

MAX_LINE: Final = 4096
"""Bytes of one line with its line break; a larger write to a pipe may mix with another's."""
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_REPEATS: Final = 10  # lines of one place in the code ...
_PER: Final = 10.0  # ... in so many seconds
_PLACES: Final = 1000  # places remembered
# What a line gives up, in this order, when it is too long.
_EXPENDABLE: Final = (
    *("notes", "shadow", "message", "scopes", "rule", "credits", "issuer", "client_id", "account"),
    *("trace_id", "plan", "revision", "method", "tool"),
)

Fields = Mapping[str, Any]


class Lines:
    """Where log lines go.

    Args:
        level: lines below it are not written: debug, info, warning or error.
        fd: the file descriptor.
        dropped: called for each line that could not be written whole; may be set later.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        level: str = "info",
        fd: int = 1,
        dropped: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.threshold = LEVELS[level]
        self._fd = fd
        self.dropped = dropped
        self._clock = clock

    def wants(self, level: str) -> bool:
        """Whether a line of this level is written."""
        return LEVELS[level] >= self.threshold

    def event(self, name: str, level: str = "info", **fields: str | float | bool | None) -> None:
        """Log something that is no call, such as a start or a reload. Text is redacted."""
        if self.wants(level):
            cleaned = {key: sentence(value) if isinstance(value, str) else value for key, value in fields.items()}
            self.write(level, name, cleaned)

    def write(self, level: str, event: str, fields: Fields) -> None:
        """Write one line from fields that are fit to be read. A full disk or closed pipe costs the line only."""
        moment = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        line = encode({"ts": moment.replace("+00:00", "Z"), "level": level, "event": event, **fields})
        try:
            written = os.write(self._fd, line)
        except OSError:
            written = 0
        if written != len(line):
            self.dropped()


def encode(fields: Fields) -> bytes:
    """One line: ASCII, so that no terminal and no collector reads it in another way, and short enough."""
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
    """What failed and where, without the message, which may quote what was being read."""
    place, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if f"{os.sep}sidecar{os.sep}" in code.co_filename or not place:
            folder, name = os.path.split(code.co_filename)
            place = f" at {os.path.basename(folder)}/{name}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__}{place}"


def install(lines: Lines, logger: logging.Logger | None = None) -> logging.Handler:
    """Send what libraries log to `lines`, and keep logging's own failures from printing their arguments.

    Args:
        lines: where to.
        logger: the root logger by default; its other handlers are removed.
    """
    target = logger if logger is not None else logging.getLogger()
    handler = _LibraryHandler(lines)
    for old in list(target.handlers):
        target.removeHandler(old)
    target.addHandler(handler)
    # Below warning, libraries tell what they read.
    target.setLevel(max(logging.WARNING, lines.threshold))
    logging.raiseExceptions = False
    return handler


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
