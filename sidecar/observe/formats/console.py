"""One readable line of text for the fields of a log line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sidecar.observe.formats.palette import Palette, Style

_LEVELS: Final = {"warning": Style.CAUTION, "error": Style.BAD}
_STATUSES: Final = {"ok": Style.GOOD, "error": Style.CAUTION, "refused": Style.CAUTION, "failed": Style.BAD}
_HEAD: Final = frozenset({"ts", "level", "event"})
# Fields of a call that its line shows without their names, and those that only other programs need.
_SHOWN: Final = frozenset(
    {"method", "tool", "status", "code", "http_status", "account", "client_id", "latency_ms", "backend_ms"}
)
_LEFT_OUT: Final = frozenset({"issuer", "scopes", "revision", "protocol", "trace_id"})
_LAST: Final = ("request_id",)
_MAX_VALUE: Final = 400
_TIME: Final = slice(11, 24)  # of 2026-11-23T06:47:08.369Z: without the date
_QUOTED: Final = frozenset(' "=')


def console_line(fields: Mapping[str, Any], palette: Palette, limit: int) -> bytes:
    """Return one line with its end, in ASCII: other characters are escaped, so that none controls the terminal.

    Args:
        fields: of the log line, with `ts`, `level` and `event`.
        palette: colours, or none.
        limit: its bytes at most; a longer line is cut and has no colours.
    """
    line = _line(fields, palette).encode()
    if len(line) < limit:
        return line + b"\n"
    return _line(fields, Palette(False)).encode()[: limit - 5] + b" ...\n"


def readable(line: str, palette: Palette) -> str:
    """Return a line of a JSON log for people, and every other line as it is."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    return _line(fields, palette) if isinstance(fields, dict) and fields.keys() >= _HEAD else line


def _line(fields: Mapping[str, Any], palette: Palette) -> str:
    level = str(fields.get("level", ""))
    head = [
        palette.paint(_plain(fields.get("ts", ""))[_TIME], Style.FAINT),
        palette.paint(level.ljust(7), _LEVELS.get(level)),
    ]
    words = _call(fields, palette) if fields.get("event") == "call" else _event(fields, palette)
    return " ".join([*head, *words])


def _event(fields: Mapping[str, Any], palette: Palette) -> Iterator[str]:
    yield palette.paint(_plain(fields.get("event", "")), Style.TITLE)
    for name, value in fields.items():
        if name not in _HEAD and value is not None:
            yield _pair(name, value, palette)


def _call(fields: Mapping[str, Any], palette: Palette) -> Iterator[str]:
    """Yield the words of a request: operation, outcome, caller and time, then the fields that it has."""
    operation = " ".join(_plain(fields[name]) for name in ("method", "tool") if fields.get(name))
    yield palette.paint(operation or "request", Style.TITLE)
    code, status = _plain(fields.get("code") or ""), _plain(fields.get("http_status") or "-")
    yield palette.paint(f"{status} {code}", _STATUSES.get(str(fields.get("status"))))
    caller = " ".join(_value(fields[name]) for name in ("account", "client_id") if fields.get(name))
    if caller:
        yield caller
    yield f"{_plain(fields.get('latency_ms', '-'))} ms"
    if fields.get("backend_ms") is not None:
        yield palette.paint(f"(backend {_plain(fields['backend_ms'])})", Style.FAINT)
    rest = [name for name in fields if name not in _HEAD | _SHOWN | _LEFT_OUT and name not in _LAST]
    for name in (*rest, *_LAST):
        if (value := fields.get(name)) not in (None, [], {}):
            yield _pair(name, value, palette)


def _pair(name: str, value: Any, palette: Palette) -> str:
    return f"{palette.paint(f'{_plain(name)}=', Style.FAINT)}{_value(value)}"


def _value(value: Any) -> str:
    """Return a value as a word, in quotes where it would not be read as one."""
    if isinstance(value, str):
        text = _cut(value)
        return json.dumps(text) if not text or _QUOTED & set(text) else _plain(text)
    return _cut(json.dumps(value, separators=(",", ":"), default=lambda other: type(other).__name__))


def _plain(value: Any) -> str:
    return json.dumps(_cut(str(value)))[1:-1].replace("\x7f", "\\u007f")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}..."
