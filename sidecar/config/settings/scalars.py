"""Scalars of the config file: durations, sizes, addresses, URLs, header names and values.

A ValueError's text is `WRONG; ACCEPTED`: `documents/validation.py` splits it at the semicolon. Messages never repeat a
value, which may come from the environment or a secret's file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path, PurePath
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from pydantic import AfterValidator, PlainSerializer, PlainValidator, SecretStr, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from sidecar.config.documents.merging import FindingsError, context_value

_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_BYTES: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
_DURATION: Final = r"([0-9]{1,9})(ms|s|m|h)"
_SIZE: Final = r"([1-9][0-9]{0,8})(B|KiB|MiB|GiB)"
_HOST_NAME: Final = r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?)"
ADDRESS: Final = rf"({_HOST_NAME}):([0-9]{{1,5}})"
_HOST: Final = rf"{_HOST_NAME}(?::[0-9]{{1,5}})?"
_ORIGIN: Final = rf"[a-z][a-z0-9+.-]*://{_HOST}"
# RFC 3986 section 2: the characters of a URL; others must be percent-encoded.
_URL: Final = r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+"
_HEADER_NAME: Final = r"[A-Za-z0-9!#$%&'*+.^`|~-]+"  # RFC 9110 section 5.6.2; no `_`: WSGI and CGI confuse it with `-`
_HEADER_VALUE: Final = r"[!-~]([\t -~]*[!-~])?"
_MAX_PORT: Final = 65_535
_MAX_SECRET: Final = 4096
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

EMBEDDED: Final = "embedded"
STORE_FILES: Final = ("ca", "cert", "key")
STORE_SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
"""Schemes of the store's URL; the store's connection parses the rest."""

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


def _text(value: object, accepted: str = "text") -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "text expected", {"accepted": accepted})
    return value


def _schema(pattern: str, description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "description": description})


# --- durations and sizes -----------------------------------------------------------------------


def _duration(value: object) -> float:
    match = re.fullmatch(_DURATION, _text(value, "text such as 250ms, 5s, 2m or 1h"))
    if match is None:
        raise ValueError("not a duration; a duration such as 250ms, 5s, 2m or 1h")
    return int(match[1]) * _SECONDS[match[2]]


def _positive_duration(value: object) -> float:
    seconds = _duration(value)
    if seconds == 0:
        raise ValueError("too small; more than zero")
    return seconds


def _size(value: object) -> int:
    match = re.fullmatch(_SIZE, _text(value, "text such as 64KiB or 1MiB"))
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


_DURATION_FORM: Final = (PlainSerializer(duration_text), _schema(_DURATION, "250ms, 5s, 2m, 1h"))
DurationOrZero = Annotated[float, PlainValidator(_duration), *_DURATION_FORM]
Duration = Annotated[float, PlainValidator(_positive_duration), *_DURATION_FORM]
"""Seconds, more than zero."""
Size = Annotated[int, PlainValidator(_size), PlainSerializer(size_text), _schema(_SIZE, "64KiB, 1MiB")]
"""Bytes, at least one."""


# --- addresses and names -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a listener: `host` has no brackets around an IPv6 literal, port 0 is any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def conflicts_with(self, other: Address) -> bool:
        """Return True when only one of both can be bound: a wildcard conflicts with hosts of its own IP version."""
        one, two = self._hosts, other._hosts
        shared_versions = {":" in host for host in one} & {":" in host for host in two}
        wildcards = (one | two) & _WILDCARDS
        meet = not one.isdisjoint(two) or any((":" in wildcard) in shared_versions for wildcard in wildcards)
        return self.port == other.port != 0 and meet

    def overlaps(self, other: Address) -> bool:
        """Return True when both have one port and share a host; a wildcard shares every host, of either IP version."""
        one, two = self._hosts, other._hosts
        return self.port == other.port != 0 and not (one.isdisjoint(two) and (one | two).isdisjoint(_WILDCARDS))

    @property
    def _hosts(self) -> frozenset[str]:
        """The normalized host; the two loopback addresses for `localhost`."""
        name = self.host.lower()
        try:
            return _LOOPBACK if name == "localhost" else frozenset({str(ip_address(name))})
        except ValueError:
            return frozenset({name})


_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, never bound
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})


def address_of(value: object) -> Address:
    """Return the address that a text names.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(ADDRESS, _text(value, "host:port, as text"))
    if match is None or int(match[2]) > _MAX_PORT:
        raise ValueError("not an address; host:port such as 127.0.0.1:8080 or [::1]:8080")
    return Address(match[1].strip("[]"), int(match[2]))


def _host(value: object) -> str:
    if re.fullmatch(_HOST, _text(value)) is None:
        raise ValueError("not a Host name; name or name:port")
    return str(value).lower()


def _origin(value: object) -> str:
    """Check that an origin has the form that browsers send, because it is compared byte by byte."""
    text = _text(value)
    parts = _split(text) if re.fullmatch(_ORIGIN, text) else None
    if parts is None or text != text.lower() or parts.port == _DEFAULT_PORTS.get(parts.scheme, -1):
        raise ValueError("not an origin as browsers send it; scheme://host or scheme://host:port, in lower case")
    return text


Listener = Annotated[Address, PlainValidator(address_of), PlainSerializer(str), _schema(ADDRESS, "host:port")]
HostName = Annotated[str, PlainValidator(_host), _schema(_HOST, "name or name:port")]
Origin = Annotated[str, PlainValidator(_origin), _schema(_ORIGIN, "scheme://host or scheme://host:port")]


# --- URLs --------------------------------------------------------------------------------------


def _split(text: str) -> SplitResult | None:
    """Return the parts of an absolute URL with a host; None for any other text."""
    try:
        parts = urlsplit(text)
        usable = parts.port is None or parts.port > 0
    except ValueError:
        return None
    authority = parts.netloc.rpartition("@")[2]
    return parts if usable and re.fullmatch(_URL, text) and re.fullmatch(_HOST, authority) else None


def _http(value: object) -> tuple[str, SplitResult]:
    text = _text(value)
    parts = _split(text)
    if parts is None or parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("not a URL; an absolute http:// or https:// URL")
    if "@" in parts.netloc:
        raise ValueError("a URL with a user or password in it; a URL without")
    if "#" in text:
        raise ValueError("a URL with a fragment; a URL without '#'")
    return text, parts


def http_url(value: object) -> str:
    """Return an absolute URL of http or https.

    Raises:
        ValueError: it is none.
    """
    return _http(value)[0]


def _resource_url(value: object) -> str:
    """Check the URL that is compared byte by byte and extended with well-known paths (RFC 9728)."""
    text, parts = _http(value)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("http:// to another machine; https://, or http:// to this machine")
    if "?" in text:
        raise ValueError("a URL with a query; a URL without '?'")
    return text


def is_loopback(host: str) -> bool:
    """Return True for a host that is always this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _store_url(value: object, info: ValidationInfo) -> str:
    text = _text(value)
    scheme, separator, rest = text.partition("://")
    if text != EMBEDDED and not (separator and rest and scheme in STORE_SCHEMES):
        raise ValueError("not a store; " + ", ".join([EMBEDDED, *(f"{name}://…" for name in STORE_SCHEMES)]))
    return _with_absolute_paths(text, context_value(info, "base"))


def _with_absolute_paths(url: str, base: PurePath | None) -> str:
    """Make the paths of certificates in a store's URL absolute; the store's connection rejects invalid URLs."""
    start, question, query = url.partition("?")
    if base is None or not question or "#" in query:
        return url
    pairs = [
        (name, str(base / value) if name in STORE_FILES and value else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return f"{start}?{urlencode(pairs, quote_via=quote)}"


HttpUrl = Annotated[str, PlainValidator(http_url), _schema("https?://[^@#]+", "http:// or https://")]
ResourceUrl = Annotated[
    str, PlainValidator(_resource_url), _schema("https?://[^@#?]+", "https://, or http:// to this machine")
]
StoreUrl = Annotated[
    str,
    PlainValidator(_store_url),
    _schema(r"(embedded|(rediss?|unix|redis\+(sentinel|cluster))://.+)", "embedded or a URL"),
]


# --- secrets -----------------------------------------------------------------------------------


def _secret(value: object) -> SecretStr:
    text = _text(value)
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
    text = str(value) if isinstance(value, Path) else _text(value, "a path")  # defaults are paths already
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
