"""Search for one call in a log: line by line, with bounded memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

MAX_SEARCHED_LINE: Final = 65_536
"""Bytes of a line that are read: the sidecar's lines have at most 4 KiB, and collectors wrap them."""

_EVENTS: Final = ("call", "settled")


@dataclass(frozen=True, slots=True)
class CallLines:
    """Lines of one call.

    Attributes:
        call: fields of the last `call` line; None when the log has none.
        settled: fields of the last `settled` line of a deferred call.
        searched: number of lines read.
    """

    call: Mapping[str, Any] | None
    settled: Mapping[str, Any] | None
    searched: int


def find_call(log: BinaryIO, request_id: str) -> CallLines:
    """Read a log to its end and return the lines of one call.

    A line may have text around its JSON object, or be the text in the member `log` of another object, as container
    runtimes write it. Other lines and those that are too long are skipped.

    Args:
        log: the log in UTF-8; a pipe may be read.
        request_id: `X-Request-Id` of the call.
    """
    wanted, found, searched = request_id.encode(), {}, 0
    while line := log.readline(MAX_SEARCHED_LINE):
        searched += 1
        whole = line.endswith(b"\n") or len(line) < MAX_SEARCHED_LINE
        if not whole:
            _skip_rest(log)
        elif wanted in line:
            fields = _fields(line)
            if fields is not None and fields.get("request_id") == request_id and fields.get("event") in _EVENTS:
                found[fields["event"]] = fields
    return CallLines(found.get("call"), found.get("settled"), searched)


def _skip_rest(log: BinaryIO) -> None:
    while rest := log.readline(MAX_SEARCHED_LINE):
        if rest.endswith(b"\n"):
            return


def _fields(line: bytes) -> Mapping[str, Any] | None:
    fields = _object(line)
    wrapped = None if fields is None or "event" in fields else fields.get("log")
    return _object(wrapped.encode("utf-8", "replace")) if isinstance(wrapped, str) else fields


def _object(text: bytes) -> Mapping[str, Any] | None:
    start, end = text.find(b"{"), text.rfind(b"}")
    try:
        value = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
