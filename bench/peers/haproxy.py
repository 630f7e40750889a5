"""HAProxy, as Debian has it: a plain HTTP proxy, and one that verifies tokens and looks for tool and scope."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.machine import PROXY_CORE, free_port, started
from bench.material import RESOURCE, SCOPE, TOOL
from bench.peers.peer import Peer, Running, Site
from bench.programs import of_debian, version

PACKAGES = (
    *("haproxy", "liblua5.3-0", "libpcre2-8-0", "libsystemd0", "libssl3", "zlib1g"),
    *("libopentracing-c-wrapper0", "libopentracing1"),
)
_COMMON = """
global
    nbthread 1
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
backend server
    server one 127.0.0.1:{backend}
frontend clients
    bind 127.0.0.1:{port}
    default_backend server
"""
_CHECKS = """
    http-request set-var(txn.token) http_auth_bearer
    http-request set-var(txn.issuer) var(txn.token),jwt_payload_query('$.iss')
    http-request set-var(txn.audience) var(txn.token),jwt_payload_query('$.aud')
    http-request set-var(txn.ends,ifexists) var(txn.token),jwt_payload_query('$.exp','int')
    http-request set-var(txn.now) date()
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify("RS256","{key}") 1 }}
    http-request deny deny_status 401 unless {{ var(txn.issuer) -m str {issuer} }}
    http-request deny deny_status 401 unless {{ var(txn.audience) -m str {audience} }}
    http-request deny deny_status 401 if {{ var(txn.ends),sub(txn.now) -m int lt 0 }}
"""
_TOOLS = """
    option http-buffer-request
    http-request set-var(txn.tool) req.body,json_query('$.params.name')
    http-request set-var(txn.scopes) var(txn.token),jwt_payload_query('$.scope')
    http-request deny deny_status 403 unless {{ var(txn.tool) -m str {tool} }} {{ var(txn.scopes) -m sub {scope} }}
"""


@contextlib.contextmanager
def _run(site: Site, rules: str) -> Iterator[Running]:
    program = of_debian("haproxy", PACKAGES, "usr/sbin/haproxy")
    port = free_port()
    key, config = site.folder / "haproxy.pem", site.folder / "haproxy.cfg"
    key.write_text(site.keyring.pem)
    values = {"port": port, "backend": site.backend, "key": key, "issuer": site.keyring.url}
    config.write_text((_COMMON + rules).format(**values, audience=RESOURCE, tool=TOOL, scope=SCOPE))
    with started([program.path, "-db", "-f", config], port, core=PROXY_CORE, env=program.env) as one:
        yield Running(port, (one.pid,), version=f"HAProxy {version(program.path, '-v')}")


PLAIN = Peer("haproxy", "HAProxy", "HAProxy", "nothing", lambda site: _run(site, ""))
JWT = Peer(
    "haproxy-jwt",
    "HAProxy `jwt_verify`, tool and scope by `json_query`",
    "HAProxy, token and tool",
    "signature each time, iss, aud, exp, tool, scope; no strict parser",
    lambda site: _run(site, _CHECKS + _TOOLS),
)
