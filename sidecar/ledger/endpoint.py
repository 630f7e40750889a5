"""Where the store is: store URLs, read once and strictly; a password appears in no message.

Served are `redis://`, `rediss://`, `unix://` and `redis+sentinel://host:port,host:port/service/db`.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from sidecar.ledger.trust import Trust

Address = tuple[str, int]

_SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel")
_QUERY: Final = {
    "redis": {"db"},
    "rediss": {"db", "ca", "cert", "key"},
    "unix": {"db"},
    "redis+sentinel": {"db"},
}
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One store.

    Attributes:
        path: the unix socket; empty for TCP.
        addresses: the server's, or the sentinels', host and port.
        service: the name sentinels know the primary by; empty without sentinels.
        trust: how to verify the server, and how to show who we are; None without TLS.
    """

    path: str = ""
    addresses: tuple[Address, ...] = ()
    service: str = ""
    db: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    trust: Trust | None = field(default=None, repr=False)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """For a new connection: of the files as they are now, since certificates are renewed."""
        return None if self.trust is None else self.trust.context()


def parse_url(url: str) -> Endpoint:
    """Read a store URL.

    Raises:
        ValueError: what is wrong, without anything from between the scheme and the host.
    """
    scheme, _, _ = url.partition("://")
    if scheme not in _SCHEMES:
        raise ValueError(f"the store's URL must start with one of {', '.join(f'{s}://' for s in _SCHEMES)}")
    parts = _split(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(query.keys() - _QUERY[scheme])
    if unknown or parts.fragment:
        raise ValueError(f"{scheme}:// URLs accept only {', '.join(sorted(_QUERY[scheme]))} after '?', and no '#'")
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    path = unquote(parts.path)
    service = ""
    if scheme == "unix":
        if hosts or not path:
            raise ValueError("a unix:// URL needs the absolute path of a socket: unix:///run/valkey.sock")
        database = query.get("db", "0")
    else:
        names = path.strip("/").split("/")
        if scheme == "redis+sentinel":
            service = names.pop(0)
            if not service:
                raise ValueError("a redis+sentinel:// URL names the service after the hosts: …/mymaster")
        database = query.get("db", "/".join(names) or "0")
    if not (database.isascii() and database.isdigit()):
        raise ValueError("the database number in the store's URL must be an integer from 0")
    return Endpoint(
        path=path if scheme == "unix" else "",
        addresses=() if scheme == "unix" else _addresses(hosts, _SENTINEL_PORT if service else _PORT, bool(service)),
        service=service,
        db=int(database),
        username=unquote(username),
        password=unquote(password),
        trust=_trust(query) if scheme == "rediss" else None,
    )


def _addresses(hosts: str, default: int, several: bool) -> tuple[Address, ...]:
    found = []
    for each in hosts.split(","):
        one = urlsplit(f"//{each}")
        try:
            host, port = one.hostname, one.port
        except ValueError:
            host, port = None, None
        if not host:
            raise ValueError("the store's URL has no usable host and port")
        found.append((host, port or default))
    if len(found) > 1 and not several:
        raise ValueError("several hosts need redis+sentinel://")
    return tuple(found)


def _trust(query: dict[str, str]) -> Trust:
    given = {name: Path(query[name]) for name in ("ca", "cert", "key") if query.get(name)}
    return Trust(given.get("ca"), given.get("cert"), given.get("key"))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its message quotes what stands before the host
        raise ValueError("the store's URL cannot be read: write special characters as %XX") from None
