"""Proxies of the environment: `http_proxy`, `https_proxy` and `no_proxy`, in lower or upper case. Pure.

The rules are those of Python's urllib and of curl. The client library's own reading of the environment is not used,
because it also sends the credentials in `~/.netrc` to the requested hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

from sidecar.config.settings.addresses import http_url, is_loopback

_MAX_NAMES: Final = 1000
"""Entries of `no_proxy` that are read."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Proxy of one scheme.

    Attributes:
        url: its URL, without user and password; empty when `problem` is set.
        user: user of Basic authentication; None without it.
        password: password of that user.
        problem: reason why it cannot be used; then requests fail, because a direct one was not intended.
    """

    url: str = ""
    user: str | None = None
    password: str = field(default="", repr=False)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxies by scheme, and the hosts that are connected to directly.

    Attributes:
        by_scheme: the proxy of `http` and of `https` URLs.
        direct: entries of `no_proxy`, in lower case.
    """

    by_scheme: Mapping[str, Proxy] = field(default_factory=dict)
    direct: tuple[str, ...] = ()

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Proxies:
        """Read the environment of a process; an empty value in lower case removes the one in upper case."""
        found = {}
        for scheme in ("http", "https"):
            name = f"{scheme}_proxy"
            # In a CGI program HTTP_PROXY is the request's header `Proxy` (CVE-2016-1000110).
            upper = "" if scheme == "http" and "REQUEST_METHOD" in environ else environ.get(name.upper(), "")
            written = environ.get(name, upper).strip()
            if written:
                found[scheme] = _proxy(written, name)
        names = environ.get("no_proxy", environ.get("NO_PROXY", "")).lower().replace(",", " ").split()
        return cls(found, tuple(names[:_MAX_NAMES]))

    def choose(self, url: str) -> Proxy | None:
        """Return the proxy for a URL; None to connect directly, which holds for this machine in any case."""
        parts = urlsplit(url)
        proxy, host = self.by_scheme.get(parts.scheme), (parts.hostname or "").rstrip(".")
        if proxy is None or is_loopback(host) or any(_covers(name, host, parts.port) for name in self.direct):
            return None
        return proxy


def _proxy(written: str, name: str) -> Proxy:
    text = written if "://" in written else f"http://{written}"
    authority, _, rest = text.partition("://")[2].partition("/")
    credentials, at, host = authority.rpartition("@")
    scheme = text.partition("://")[0].lower()
    try:
        url = http_url(f"{scheme}://{host}")
    except ValueError:
        url = ""
    # TLS to the proxy itself would need authorities of its own; through it, TLS to the issuer is end to end.
    # An "@" after a slash is that of a password with a slash, whose beginning would pass for a host.
    if scheme != "http" or not url or "@" in rest:
        return Proxy(problem=f"the proxy in {name} is not an http:// URL")
    user, _, password = credentials.partition(":")
    return Proxy(url, unquote(user) if at else None, unquote(password))


def _covers(name: str, host: str, port: int | None) -> bool:
    """Return whether an entry of `no_proxy` covers a host: `*`, a domain, host:port, an address or a network."""
    if name == "*":
        return True
    if "/" in name:
        try:
            return ip_address(host) in ip_network(name, strict=False)
        except ValueError:
            return False
    entry = name.removeprefix("*").lstrip(".")
    plain = entry.strip("[]")
    written = f"[{host}]" if ":" in host else host
    return host == plain or f"{written}:{port}" == entry or (bool(plain) and host.endswith(f".{plain}"))
