"""Store URLs, parsed once and strictly; no message contains a password.

A single server is `redis://`, `rediss://` or `unix://`. `redis+sentinel://host:port,host:port/service/db` names
sentinels, which know the primary; `redis+cluster://host:port,host:port` names some nodes, which know the others.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from sidecar.store.connection.store_tls import StoreTls
from sidecar.system.resolver import Resolver

Address = tuple[str, int]

_TLS: Final = frozenset({"ca", "cert", "key"})
_QUERY: Final[Mapping[str, frozenset[str]]] = {
    "redis": frozenset({"db"}),
    "rediss": _TLS | {"db"},
    "unix": frozenset({"db"}),
    "redis+sentinel": _TLS | {"db", "tls", "sentinel_username", "sentinel_password"},
    "redis+cluster": _TLS | {"tls"},
}
_SEVERAL: Final = ("redis+sentinel", "redis+cluster")
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """Location and credentials of a store.

    Attributes:
        path: path of the unix socket; empty for TCP.
        addresses: host and port of the server, of the sentinels, or of some nodes of the cluster.
        service: sentinels' name of the primary; empty without sentinels.
        cluster: whether it is a cluster, or a node of one.
        db: number of the database.
        username: user on every data server.
        password: password on every data server.
        sentinel_username: user on every sentinel.
        sentinel_password: password on every sentinel; empty for none.
        store_tls: verification of servers and sentinels, and the client certificate; None without TLS.
        resolver: says which addresses their names have.
    """

    path: str = ""
    addresses: tuple[Address, ...] = ()
    service: str = ""
    cluster: bool = False
    db: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)
    store_tls: StoreTls | None = field(default=None, repr=False)
    resolver: Resolver = field(default_factory=Resolver, repr=False, compare=False)

    @property
    def label(self) -> str:
        """Socket or addresses, for messages to the operator."""
        return self.path or ", ".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.addresses
        )

    async def tls(self) -> ssl.SSLContext | None:
        """Return the TLS context for a new connection, from the current files; None without TLS."""
        return None if self.store_tls is None else await self.store_tls.context()

    def node(self, address: Address) -> StoreLocation:
        """Return the location of one data server or cluster node."""
        return replace(self, addresses=(address,), service="")

    def sentinel(self, address: Address) -> StoreLocation:
        """Return the location of one sentinel."""
        return StoreLocation(
            addresses=(address,),
            username=self.sentinel_username,
            password=self.sentinel_password,
            store_tls=self.store_tls,
            resolver=self.resolver,
        )


def parse_url(url: str) -> StoreLocation:
    """Parse a store URL.

    Raises:
        ValueError: the URL is invalid; the message has nothing from between scheme and host.
    """
    scheme, _, _ = url.partition("://")
    if scheme not in _QUERY:
        raise ValueError(f"the store's URL must start with one of {', '.join(f'{s}://' for s in _QUERY)}")
    parts = _split(url)
    query = _query(scheme, parts.query)
    if parts.fragment:
        raise ValueError("the store's URL has no '#'; one in a password is written %23")
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    path = unquote(parts.path)
    if scheme == "unix" and (hosts or not path):
        raise ValueError("a unix:// URL needs the absolute path of a socket: unix:///run/valkey.sock")
    service, database = _below(scheme, path, query)
    if (username and not password) or ("sentinel_username" in query and not query.get("sentinel_password")):
        raise ValueError("a user in the store's URL needs a password")
    return StoreLocation(
        path=path if scheme == "unix" else "",
        addresses=() if scheme == "unix" else _addresses(hosts, scheme),
        service=service,
        cluster=scheme == "redis+cluster",
        db=database,
        username=unquote(username),
        password=unquote(password),
        sentinel_username=query.get("sentinel_username", ""),
        sentinel_password=query.get("sentinel_password", ""),
        store_tls=_store_tls(query) if _uses_tls(scheme, query) else None,
    )


def _query(scheme: str, text: str) -> dict[str, str]:
    pairs = parse_qsl(text, keep_blank_values=True)
    query = dict(pairs)
    if query.keys() - _QUERY[scheme]:
        raise ValueError(f"{scheme}:// URLs accept only {', '.join(sorted(_QUERY[scheme]))} after '?'")
    if len(query) < len(pairs):
        raise ValueError("the store's URL has a parameter twice after '?'")
    return query


def _below(scheme: str, path: str, query: Mapping[str, str]) -> tuple[str, int]:
    """Return service and database of the URL's path."""
    names = [] if scheme == "unix" else path.strip("/").split("/")
    service = ""
    if scheme == "redis+sentinel":
        service = names.pop(0)
        if not service:
            raise ValueError("a redis+sentinel:// URL names the service after the hosts: …/mymaster")
    database = query.get("db", "/".join(names) or "0")
    if not (database.isascii() and database.isdigit()):
        raise ValueError("the database number in the store's URL must be an integer from 0")
    if scheme == "redis+cluster" and int(database):
        raise ValueError("the store's URL names a database, and a cluster is used with database 0 only")
    return service, int(database)


def _uses_tls(scheme: str, query: Mapping[str, str]) -> bool:
    tls = query.get("tls", "true" if scheme == "rediss" else "false")
    if tls not in ("true", "false"):
        raise ValueError("tls in the store's URL is true or false")
    if tls == "false" and query.keys() & _TLS:
        raise ValueError("ca, cert and key in the store's URL are used with tls=true only")
    return tls == "true"


def _addresses(hosts: str, scheme: str) -> tuple[Address, ...]:
    default = _SENTINEL_PORT if scheme == "redis+sentinel" else _PORT
    found = []
    for each in hosts.split(","):
        host, port = _host(each)
        found.append((host, port or default))
    if len(found) > 1 and scheme not in _SEVERAL:
        raise ValueError(f"several hosts need {' or '.join(f'{each}://' for each in _SEVERAL)}")
    return tuple(found)


def _host(text: str) -> tuple[str, int | None]:
    try:
        one = urlsplit(f"//{text}")
        host, port = one.hostname, one.port
        (host or "").encode("idna")  # a resolver does this first
    except ValueError:
        host, port = None, None
    if not host or port == 0:
        raise ValueError("the store's URL has no usable host and port")
    return host, port


def _store_tls(query: Mapping[str, str]) -> StoreTls:
    given = {name: Path(query[name]) for name in ("ca", "cert", "key") if query.get(name)}
    return StoreTls(given.get("ca"), given.get("cert"), given.get("key"))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its message quotes the credentials
        raise ValueError("the store's URL cannot be read: write special characters as %XX") from None
