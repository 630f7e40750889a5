"""Spelling of the public URL: clients normalise it, and the audience of a token is compared byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult, urlsplit

from sidecar.config.settings.addresses import is_loopback
from sidecar.doctor.rules.findings import Finding, fail, ok, warn

CHECK: Final = "address"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def split_url(url: str) -> SplitResult:
    """Split a URL that can be asked.

    Raises:
        ValueError: the message says what is accepted.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise ValueError("an https:// URL with a host is accepted, or http:// to this machine")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("a URL of visible ASCII is accepted; write other letters in their encoded form")
    if "@" in parts.netloc:
        raise ValueError("a URL without user and password is accepted; a token comes with --token-file")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("a port from 0 to 65535 is accepted") from None
    return parts


def is_local(url: str) -> bool:
    """Return True for a URL of this machine."""
    return is_loopback(urlsplit(url).hostname or "")


def is_fetchable(url: str, public: str) -> bool:
    """Return True for a URL that the doctor may ask: https, or http while the public URL is of this machine, too."""
    try:
        parts = split_url(url)
    except ValueError:
        return False
    return parts.scheme.lower() == "https" or (is_local(url) and is_local(public))


def origin_of(url: str) -> str:
    """Return the origin of a URL as a browser sends it."""
    parts = urlsplit(url)
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def judge_address(url: str) -> Iterator[Finding]:
    """Judge the URL itself."""
    parts = urlsplit(url)
    found = list(_problems(url, parts))
    yield from found or [ok(CHECK, url)]


def _problems(url: str, parts: SplitResult) -> Iterator[Finding]:
    if parts.scheme == "http" and not is_local(url):
        yield fail(CHECK, "http:// shows every token to the network", "serve https:// and give clients that URL")
    if parts.fragment or "#" in url:
        yield fail(CHECK, "a fragment is no part of a resource (RFC 8707 section 2)", "remove it")
    if not url.startswith(f"{parts.scheme}://{parts.netloc.lower()}"):
        yield fail(CHECK, "clients write scheme and host in lower case", "use lower case here and in `resource`")
    if parts.port is not None and parts.port == _DEFAULT_PORTS[parts.scheme]:
        yield warn(CHECK, "clients leave out the default port", "leave it out here and in `resource`")
    if parts.query:
        yield warn(CHECK, "a query is discouraged (RFC 9728 section 1.2)", "use a path instead")
    segments = parts.path.split("/")
    if "." in segments or ".." in segments or "//" in parts.path:
        yield fail(CHECK, "clients and proxies rewrite this path", "use one without //, /./ and /../")
    elif parts.path not in ("", "/") and parts.path.endswith("/"):
        yield warn(
            CHECK,
            "a slash at the end: some clients drop it when they look for the metadata",
            "drop it here, in `resource` and in the proxy",
        )
