"""Scalars of the config file: durations, sizes, secrets, headers and paths; `addresses` has those with a host.

A ValueError's text is `WRONG; ACCEPTED`: `documents/validation.py` splits it at the semicolon. Messages never repeat a
value, which may come from the environment or a secret's file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, PlainSerializer, PlainValidator, SecretStr, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from sidecar.config.documents.merging import FindingsError, context_value

_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_BYTES: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
_DURATION: Final = r"([0-9]{1,9})(ms|s|m|h)"
_SIZE: Final = r"([1-9][0-9]{0,8})(B|KiB|MiB|GiB)"
_HEADER_NAME: Final = r"[A-Za-z0-9!#$%&'*+.^`|~-]+"  # RFC 9110 section 5.6.2; no `_`: WSGI and CGI confuse it with `-`
_HEADER_VALUE: Final = r"[!-~]([\t -~]*[!-~])?"
_MAX_SECRET: Final = 4096

# Headers that the sidecar sets itself or never sends, and headers of the connection. `Authorization` is
# allowed: the caller's is never forwarded, so the backend can have one of its own.
_OWN_HEADERS: Final = frozenset(
    {
        *("accept", "accept-encoding", "content-encoding", "content-length", "content-type", "cookie", "expect"),
        *("connection", "http2-settings", "keep-alive", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
        *("forwarded", "host", "last-event-id", "origin", "x-request-id"),
        *("baggage", "traceparent", "tracestate"),
    }
)
_OWN_PREFIXES: Final = ("mcp-", "x-mcp-")


def text_of(value: object, accepted: str = "text") -> str:
    """Return a value that is text.

    Raises:
        PydanticCustomError: it is none; `accepted` describes the text.
    """
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "text expected", {"accepted": accepted})
    return value


def schema_of(pattern: str, description: str) -> WithJsonSchema:
    """Return the JSON Schema of a scalar that is text of a pattern."""
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "description": description})


# --- durations and sizes -----------------------------------------------------------------------


def _duration(value: object) -> float:
    match = re.fullmatch(_DURATION, text_of(value, "text such as 250ms, 5s, 2m or 1h"))
    if match is None:
        raise ValueError("not a duration; a duration such as 250ms, 5s, 2m or 1h")
    return int(match[1]) * _SECONDS[match[2]]


def _positive_duration(value: object) -> float:
    seconds = _duration(value)
    if seconds == 0:
        raise ValueError("too small; more than zero")
    return seconds


def _size(value: object) -> int:
    match = re.fullmatch(_SIZE, text_of(value, "text such as 64KiB or 1MiB"))
    if match is None:
        raise ValueError("not a size; a size such as 64KiB or 1MiB")
    return int(match[1]) * _BYTES[match[2]]


def duration_text(seconds: float) -> str:
    """Format seconds as in the config, in the largest unit that gives an integer."""
    milliseconds = round(seconds * 1000)
    for unit, size in _SECONDS.items():
        if milliseconds and milliseconds % round(size * 1000) == 0:
            return f"{milliseconds // round(size * 1000)}{unit}"
    return "0s"


def size_text(count: int) -> str:
    """Format bytes as in the config, in the largest unit that gives an integer."""
    unit, size = next((unit, size) for unit, size in _BYTES.items() if count % size == 0)
    return f"{count // size}{unit}"


_DURATION_FORM: Final = (PlainSerializer(duration_text), schema_of(_DURATION, "250ms, 5s, 2m, 1h"))
DurationOrZero = Annotated[float, PlainValidator(_duration), *_DURATION_FORM]
Duration = Annotated[float, PlainValidator(_positive_duration), *_DURATION_FORM]
"""Seconds, more than zero."""
Size = Annotated[int, PlainValidator(_size), PlainSerializer(size_text), schema_of(_SIZE, "64KiB, 1MiB")]
"""Bytes, at least one."""


# --- secrets -----------------------------------------------------------------------------------


def _secret(value: object) -> SecretStr:
    text = text_of(value)
    if not 0 < len(text) <= _MAX_SECRET:
        raise ValueError(f"empty or too long; 1 to {_MAX_SECRET} characters")
    return SecretStr(text)


Secret = Annotated[
    SecretStr,
    PlainValidator(_secret),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": _MAX_SECRET, "writeOnly": True}),
]
"""Text that messages, log lines and representations never show."""


# --- headers for the backend -------------------------------------------------------------------


def _headers(value: dict[str, str]) -> dict[str, str]:
    findings: list[tuple[tuple[str, ...], str, str]] = []
    seen: set[str] = set()
    for name, text in value.items():
        lower = name.lower()
        if re.fullmatch(_HEADER_NAME, name) is None:
            findings.append(((name, "[key]"), "not a header name", "letters, digits and hyphens"))
        elif lower in _OWN_HEADERS or lower.startswith(_OWN_PREFIXES):
            findings.append(((name, "[key]"), "a header that the sidecar sets itself or never sends", "any other"))
        elif lower in seen:
            findings.append(((name, "[key]"), "given twice, in another case", "each header once"))
        if re.fullmatch(_HEADER_VALUE, text) is None:
            findings.append(((name,), "not a header value", "visible ASCII on one line, with no space around it"))
        seen.add(lower)
    if findings:
        raise FindingsError(findings)
    return value


BackendHeaders = Annotated[dict[str, str], AfterValidator(_headers)]


# --- files -------------------------------------------------------------------------------------


def _file(value: object, info: ValidationInfo) -> Path:
    text = str(value) if isinstance(value, Path) else text_of(value, "a path")  # defaults are paths already
    if not text or not text.isprintable():  # probably the content of a file instead of its path
        raise ValueError("not a path; a path, relative to the config file")
    base = context_value(info, "base")
    return Path(text) if base is None else base / text


def _files(value: object, info: ValidationInfo) -> Path | tuple[Path, ...]:
    if isinstance(value, str | Path):
        return _file(value, info)
    if not isinstance(value, list) or not value:
        raise ValueError("neither a folder nor a list of files; a path, or a list of paths")
    wrong = [
        ((index,), "not a path", "a path") for index, each in enumerate(value) if not each or type(each) is not str
    ]
    if wrong:
        raise FindingsError(wrong)
    return tuple(_file(each, info) for each in value)


_PATH_SCHEMA: Final[dict[str, Any]] = {"type": "string", "minLength": 1}
FilePath = Annotated[Path, PlainValidator(_file), PlainSerializer(str), WithJsonSchema(_PATH_SCHEMA)]
"""Path; relative ones are relative to the config file."""
FilePaths = Annotated[
    Path | tuple[Path, ...],
    PlainValidator(_files),
    PlainSerializer(str),
    WithJsonSchema({"anyOf": [_PATH_SCHEMA, {"type": "array", "items": _PATH_SCHEMA, "minItems": 1}]}),
]
