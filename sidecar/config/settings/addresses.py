"""Scalars of the config file that name a host: addresses, host names, origins and URLs.

The texts of ValueErrors have the form that `scalars` describes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePath
from typing import Annotated, Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from pydantic import PlainSerializer, PlainValidator, ValidationInfo

from sidecar.config.documents.merging import context_value
from sidecar.config.settings.scalars import schema_of, text_of

_HOST_NAME: Final = r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?)"
ADDRESS: Final = rf"({_HOST_NAME}):([0-9]{{1,5}})"
_HOST: Final = rf"{_HOST_NAME}(?::[0-9]{{1,5}})?"
_ORIGIN: Final = rf"[a-z][a-z0-9+.-]*://{_HOST}"
# RFC 3986 section 2: the characters of a URL; others must be percent-encoded.
_URL: Final = r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+"
_MAX_PORT: Final = 65_535
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

EMBEDDED: Final = "embedded"
STORE_FILES: Final = ("ca", "cert", "key")
STORE_SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
"""Schemes of the store's URL; the store's connection parses the rest."""


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
    match = re.fullmatch(ADDRESS, text_of(value, "host:port, as text"))
    if match is None or int(match[2]) > _MAX_PORT:
        raise ValueError("not an address; host:port such as 127.0.0.1:8080 or [::1]:8080")
    return Address(match[1].strip("[]"), int(match[2]))


def _host(value: object) -> str:
    if re.fullmatch(_HOST, text_of(value)) is None:
        raise ValueError("not a Host name; name or name:port")
    return str(value).lower()


def _origin(value: object) -> str:
    """Check that an origin has the form that browsers send, because it is compared byte by byte."""
    text = text_of(value)
    parts = _split(text) if re.fullmatch(_ORIGIN, text) else None
    if parts is None or text != text.lower() or parts.port == _DEFAULT_PORTS.get(parts.scheme, -1):
        raise ValueError("not an origin as browsers send it; scheme://host or scheme://host:port, in lower case")
    return text


Listener = Annotated[Address, PlainValidator(address_of), PlainSerializer(str), schema_of(ADDRESS, "host:port")]
HostName = Annotated[str, PlainValidator(_host), schema_of(_HOST, "name or name:port")]
Origin = Annotated[str, PlainValidator(_origin), schema_of(_ORIGIN, "scheme://host or scheme://host:port")]


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
    text = text_of(value)
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
    text = text_of(value)
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


HttpUrl = Annotated[str, PlainValidator(http_url), schema_of("https?://[^@#]+", "http:// or https://")]
ResourceUrl = Annotated[
    str, PlainValidator(_resource_url), schema_of("https?://[^@#?]+", "https://, or http:// to this machine")
]
StoreUrl = Annotated[
    str,
    PlainValidator(_store_url),
    schema_of(r"(embedded|(rediss?|unix|redis\+(sentinel|cluster))://.+)", "embedded or a URL"),
]
