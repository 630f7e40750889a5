"""Access to the API: by token only, never from a web page, and nothing beyond a program's permissions."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.admin_api.api_server import MAX_BODY
from sidecar.admin_api.route_table import Route
from sidecar.admin_api.routes import ROUTES
from tests.admin_api.support import PERMISSIONS, Api, account_path, section, token_of
from tests.support.rig import rig
from tests.support.store import StoreServer


def path_of(route: Route) -> str:
    return route.path.replace("{account}", f"unknown-{route.operation}").replace("{client_id}", "cli")


async def test_every_route_wants_a_token_and_says_nothing_else(api: Api):
    for route in (*ROUTES, None):
        path, method = ("/openapi.json", "GET") if route is None else (path_of(route), route.method)
        for by, code in ((None, "token_missing"), ("stranger", "token_invalid")):
            said = await api.ask(method, path, by=by)
            assert (said.status, said.code) == (401, code), path
            assert said.headers["WWW-Authenticate"].startswith("Bearer realm=")
            assert set(said.json) == {"title", "status", "detail", "code", "request_id"}
            assert said.json["request_id"] == said.headers["X-Request-Id"]
    assert (await api.ask("GET", "/nothing", by=None)).code == "token_missing"
    assert (await api.ask("GET", "/nothing")).code == "path_unknown"
    line = await api.logged("admin_api_refused", code="token_invalid")
    assert token_of("stranger") not in json.dumps(api.rig.log)
    assert line["level"] == "warning"


async def test_a_permission_is_needed_for_every_route(api: Api):
    for route in ROUTES:
        for name in PERMISSIONS:
            said = await api.ask(route.method, path_of(route), by=name)
            refused = said.status == 403 and said.code == "permission_missing"
            assert refused is (name != route.permission), (route.operation, name, said.status)


async def test_the_token_is_taken_from_one_header_only(api: Api):
    right = f"Bearer {token_of('all')}"
    for headers in (
        [("Authorization", right), ("Authorization", right)],
        [("Cookie", f"token={token_of('all')}")],
        [("X-Api-Key", token_of("all"))],
    ):
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        status, _ = await raw(api, f"GET /v1/accounts HTTP/1.1\r\nHost: localhost\r\n{head}\r\n")
        assert status == 401
    assert (await api.ask("GET", "/v1/accounts?access_token=" + token_of("all"), by=None)).code == "token_missing"


async def raw(api: Api, request: str | bytes) -> tuple[int, bytes]:
    """Send bytes, and return the status and the whole answer."""
    address = api.rig.sidecar.addresses["admin_api"]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(request.encode() if isinstance(request, str) else request)
        async with asyncio.timeout(60):
            said = await reader.readuntil(b"\r\n\r\n")
        return int(said.split()[1]), said
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "user@127.0.0.1", "127.0.0.1:x"])
async def test_another_host_is_refused(api: Api, host: str):
    said = await api.ask("GET", "/v1/accounts", headers={"Host": host})
    assert (said.status, said.code) == (403, "host_refused")


async def test_names_of_admin_hosts_are_served(tmp_path: Path, store_server: StoreServer):
    async with rig(tmp_path, store_server, admin_api=section(), admin_hosts=["sidecar.internal"]) as running:
        api = Api.of(running)
        for host, status in (("Sidecar.Internal:9091", 200), ("sidecar.internal", 200), ("mcp.example.com", 403)):
            assert (await api.ask("GET", "/v1/accounts", headers={"Host": host})).status == status


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1"])
async def test_web_pages_are_refused(api: Api, origin: str):
    said = await api.ask("GET", "/v1/accounts", headers={"Origin": origin})
    assert (said.status, said.code) == (403, "origin_refused")
    preflight = await api.ask(
        "OPTIONS", "/v1/accounts", by=None, headers={"Origin": origin, "Access-Control-Request-Method": "GET"}
    )
    assert (preflight.status, preflight.code) == (403, "origin_refused")
    for each in (said, preflight):
        assert not any(name.lower().startswith("access-control") for name in each.headers)


async def test_answers_are_not_stored_and_name_no_server(api: Api):
    for said in (await api.ask("GET", "/v1/accounts"), await api.ask("GET", "/v1/accounts", by=None)):
        assert said.headers["Cache-Control"] == "no-store"
        assert said.headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in said.headers
        assert "Set-Cookie" not in said.headers


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/accounts/", "path_unknown"),
        ("GET", "//v1/accounts", "path_unknown"),
        ("GET", "/v1/../v1/accounts", "path_unknown"),
        ("GET", "/v1%2Faccounts", "path_unknown"),
        ("GET", "/V1/accounts", "path_unknown"),
        ("GET", "/v1/accounts/a/b/c/d", "path_unknown"),
        ("POST", "/v1/accounts", "http_method_refused"),
        ("HEAD", "/v1/accounts", None),
        ("TRACE", "/v1/accounts/x", "http_method_refused"),
        ("GET", "/v1/accounts?limit=0", "parameter_invalid"),
        ("GET", "/v1/accounts?limit=1e2", "parameter_invalid"),
        ("GET", "/v1/accounts?limit=10&limit=20", "parameter_invalid"),
        ("GET", "/v1/accounts?Limit=10", "parameter_invalid"),
        ("GET", "/v1/accounts?cursor=x", "parameter_invalid"),
        ("GET", "/v1/accounts?issuer=other", "issuer_unknown"),
        ("GET", "/v1/accounts/%20x", "parameter_invalid"),
        ("GET", "/v1/accounts/x%00", "parameter_invalid"),
        ("GET", "/v1/accounts/x%E2%80%AE", "parameter_invalid"),
        ("GET", "/v1/accounts/%ff", "request_malformed"),
        ("GET", "/v1/accounts/" + "a" * 3000, "parameter_invalid"),
        ("GET", "/v1/accounts/" + "a" * 18_000, "request_malformed"),
    ],
)
async def test_tricks_with_paths_are_refused(api: Api, method: str, path: str, code: str | None):
    said = await api.ask(method, path)
    assert 400 <= said.status < 500
    if code is not None:
        assert said.code == code


BODY = {"pool": "contact", "change": "grant", "amount": 5}


@pytest.mark.parametrize(
    ("data", "media_type", "code"),
    [
        (b"", "application/json", "body_malformed"),
        (b"{", "application/json", "body_malformed"),
        (b'{"pool":"contact","change":"grant","amount":5,"amount":6}', "application/json", "body_malformed"),
        (b'{"pool":"contact","change":"grant","amount":5,"Amount":6}', "application/json", "body_malformed"),
        (b'{"pool":"contact","change":"grant","amount":5.5}', "application/json", "body_malformed"),
        (b'{"pool":"contact","change":"grant","amount":true}', "application/json", "body_malformed"),
        (b'{"pool":"contact","change":"grant","amount":-1}', "application/json", "body_malformed"),
        (b'{"pool":"contact","change":"grant","amount":9007199254740992}', "application/json", "body_malformed"),
        (b'{"pool":"contact","change":"grant","amount":1e400}', "application/json", "body_malformed"),
        (b'{"pool":"contact","change":"give","amount":5}', "application/json", "body_malformed"),
        (b'{"pool":"contact","change":"grant"}', "application/json", "body_malformed"),
        (b'{"pool":"contact","change":"grant","amount":5,"by":"x"}', "application/json", "body_malformed"),
        (b"[" * 1000 + b"]" * 1000, "application/json", "body_malformed"),
        (b"\xff", "application/json", "body_malformed"),
        (json.dumps(BODY).encode("utf-16"), "application/json", "body_malformed"),
        (json.dumps(BODY).encode(), "text/plain", "media_type_unsupported"),
        (json.dumps(BODY).encode(), "application/json; charset=latin-1", "media_type_unsupported"),
        (json.dumps(BODY).encode(), "application/x-www-form-urlencoded", "media_type_unsupported"),
        (b" " * (MAX_BODY + 1), "application/json", "body_too_large"),
    ],
)
async def test_bodies_are_strict(api: Api, data: bytes, media_type: str, code: str):
    await api.account("strict")
    headers = {"Content-Type": media_type, "Idempotency-Key": "k"}
    said = await api.ask("POST", account_path("strict", "credits"), data=data, headers=headers)
    assert said.code == code
    shown = await api.ask("GET", account_path("strict"))
    assert shown.json["balances"] == {}


async def test_a_compressed_body_is_refused(api: Api):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Idempotency-Key": "k"}
    said = await api.ask("POST", account_path("x", "credits"), data=b"{}", headers=headers)
    assert said.code == "media_type_unsupported"


@pytest.mark.parametrize(
    "data",
    [
        b"CANARY\r\n\r\n",
        b"GET /CANARY HTTP/9.9\r\n\r\n",
        b"GET /v1/accounts HTTP/1.1\r\nHost: localhost\r\nX: " + b"CANARY" * 20_000 + b"\r\n\r\n",
        b"GET http://CANARY/v1/accounts HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01CANARY\r\n\r\n",
    ],
)
async def test_no_answer_repeats_what_is_no_request(api: Api, data: bytes):
    _, said = await raw(api, data)
    assert b"CANARY" not in said


async def test_no_line_has_a_token_or_the_query(api: Api):
    await api.ask("GET", "/v1/consents?client_id=" + "https%3A%2F%2Fx%2F%3Fsecret%3DCANARY")
    body = {"account": "logged", "client_id": "https://x.example/?secret=CANARY", "status": "granted"}
    assert (await api.ask("POST", "/v1/consents", body)).status == 201
    line = await api.logged("admin_api_change", operation="changeConsent")
    assert (line["program"], line["account"], line["status"]) == ("all", "logged", "granted")
    written = json.dumps(api.rig.log)
    assert "CANARY" not in written
    assert token_of("all") not in written


def files_of(folder: Path, change: dict[str, Any]) -> None:
    config = json.loads((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(json.dumps({**config, **change}))


async def test_a_reload_changes_tokens_and_permissions(api: Api, tmp_path: Path):
    before = json.loads((tmp_path / "config.yaml").read_text())["admin_api"]
    tokens = [{"name": "fresh", "token": token_of("fresh"), "may": ["read"]}, before["tokens"][0]]
    files_of(tmp_path, {"admin_api": {**before, "tokens": tokens}})
    assert (await api.ask("GET", "/v1/accounts", by="fresh")).status == 401
    assert await api.rig.sidecar.reload()
    assert (await api.ask("GET", "/v1/accounts", by="fresh")).status == 200
    assert (await api.ask("GET", "/v1/accounts", by="read")).status == 200
    assert (await api.ask("GET", "/v1/accounts", by="all")).status == 401


@pytest.mark.parametrize("changed", [None, {"listen": "127.0.0.1:1"}])
async def test_another_listener_needs_a_restart(api: Api, tmp_path: Path, changed: dict[str, Any] | None):
    config = json.loads((tmp_path / "config.yaml").read_text())
    files_of(tmp_path, {"admin_api": None if changed is None else {**config["admin_api"], **changed}})
    assert not await api.rig.sidecar.reload()
    line = await api.logged("reload_failed")
    assert "admin_api.listen needs a restart" in line["problem"]
    assert (await api.ask("GET", "/v1/accounts")).status == 200
