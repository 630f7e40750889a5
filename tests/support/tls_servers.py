"""Servers and sentinels that speak TLS and nothing else, to clients and to each other.

tls = ServerTls(authority, authority.issue("server"), debian.redis_server())
with ClusterServers(tls=tls) as cluster: ...
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import redis

from tests.support.certificates import Authority, Pair


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS settings of servers, which require client certificates.

    Attributes:
        authority: whom they trust.
        pair: what they show, also to each other.
        binary: a server that can do it, and the environment that it runs in.
    """

    authority: Authority
    pair: Pair
    binary: tuple[Path, dict[str, str]]

    def options(self, port: int) -> tuple[str, ...]:
        """As words of a command line."""
        return tuple(word for name, value in self._settings(port) for word in (f"--{name}", value))

    def lines(self, port: int) -> list[str]:
        """As lines of a config file."""
        return [f"{name} {value}" for name, value in self._settings(port)]

    def client(self, port: int, password: str | None = None) -> redis.Redis:
        """A client that shows their certificate."""
        return redis.Redis(
            host="127.0.0.1",
            port=port,
            password=password,
            decode_responses=True,
            ssl=True,
            ssl_ca_certs=str(self.authority.cert),
            ssl_certfile=str(self.pair.cert),
            ssl_keyfile=str(self.pair.key),
        )

    def _settings(self, port: int) -> tuple[tuple[str, str], ...]:
        return (
            *(("port", "0"), ("tls-port", str(port)), ("tls-replication", "yes"), ("tls-cluster", "yes")),
            *(("tls-cert-file", str(self.pair.cert)), ("tls-key-file", str(self.pair.key))),
            ("tls-ca-cert-file", str(self.authority.cert)),
        )
