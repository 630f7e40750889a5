"""Listeners of the API: TLS with client certificates, a unix socket, and a sidecar without the API."""

from __future__ import annotations

import json
import os
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from tests.admin_api.support import Api, section, token_of
from tests.support.certificates import Authority, Pair
from tests.support.rig import rig
from tests.support.store import StoreServer

CLIENTS = [{"name": "billing.internal", "may": ["read"]}, {"name": "spiffe://cluster/login", "may": ["consents"]}]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "programs")


@pytest.fixture
def server(tmp_path: Path) -> tuple[Authority, Pair]:
    made = Authority(tmp_path, "servers")
    return made, made.issue("api")


@pytest.fixture
async def api(
    tmp_path: Path, store_server: StoreServer, authority: Authority, server: tuple[Authority, Pair]
) -> AsyncIterator[Api]:
    tls = {**server[1].files, "client_ca": str(authority.cert)}
    async with rig(tmp_path, store_server, admin_api=section(tls=tls, clients=CLIENTS)) as running:
        yield Api(running, f"https://{running.sidecar.addresses['admin_api']}")


def named(authority: Authority, file: str, *names: x509.GeneralName) -> Pair:
    return authority.issue(file, alternatives=names)


def session(servers: Authority, pair: Pair | None = None) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=servers.cert)
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


async def test_a_certificate_names_a_program(api: Api, authority: Authority, server: tuple[Authority, Pair]):
    billing = named(authority, "billing", x509.DNSName("billing.internal"))
    login = named(authority, "login", x509.UniformResourceIdentifier("spiffe://cluster/login"))
    common = authority.issue("billing.internal", alternatives=())
    other = named(authority, "other", x509.DNSName("other.internal"))
    async with session(server[0], billing) as http:
        assert (await api.ask("GET", "/v1/accounts", by=None, http=http)).status == 200
        assert (await api.ask("PATCH", "/v1/accounts/x", {"plan": "free"}, by=None, http=http)).status == 403
        assert (await api.ask("GET", "/v1/accounts", by="stranger", http=http)).code == "token_invalid"
        assert (await api.ask("GET", "/v1/accounts", by="credits", http=http)).code == "permission_missing"
    async with session(server[0], login) as http:
        body = {"account": "by-certificate", "client_id": "cli", "status": "granted"}
        assert (await api.ask("POST", "/v1/consents", body, by=None, http=http)).status == 201
    async with session(server[0], common) as http:
        assert (await api.ask("GET", "/v1/accounts", by=None, http=http)).status == 200
    async with session(server[0], other) as http:
        assert (await api.ask("GET", "/v1/accounts", by=None, http=http)).code == "certificate_unknown"
    async with session(server[0]) as http:
        assert (await api.ask("GET", "/v1/accounts", by=None, http=http)).code == "token_missing"
        assert (await api.ask("GET", "/v1/accounts", by="read", http=http)).status == 200
    line = await api.logged("admin_api_change", account="by-certificate")
    assert line["program"] == "spiffe://cluster/login"


async def test_a_certificate_of_another_authority_gets_no_connection(
    api: Api, tmp_path: Path, server: tuple[Authority, Pair]
):
    (tmp_path / "strangers").mkdir()
    stranger = Authority(tmp_path / "strangers", "strangers")
    forged = named(stranger, "billing", x509.DNSName("billing.internal"))
    async with session(server[0], forged) as http:
        with pytest.raises(aiohttp.ClientError):
            await api.ask("GET", "/v1/accounts", by=None, http=http)


async def test_a_renewed_certificate_needs_no_restart(api: Api, server: tuple[Authority, Pair], tmp_path: Path):
    (tmp_path / "later").mkdir()
    later = Authority(tmp_path / "later", "later")
    server[1].become(later.issue("api"))
    line = await api.logged("certificate_renewed", side="admin_api")
    assert line["ends"]
    async with session(later) as http:
        assert (await api.ask("GET", "/v1/accounts", by="read", http=http)).status == 200


async def test_a_reload_takes_other_files(api: Api, tmp_path: Path):
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    config = json.loads((tmp_path / "config.yaml").read_text())
    config["admin_api"]["tls"].update(other.issue("api").files)
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    assert await api.rig.sidecar.reload()
    async with session(other) as http:
        assert (await api.ask("GET", "/v1/accounts", by="read", http=http)).status == 200


# --- unix sockets ------------------------------------------------------------------------------------


async def test_a_unix_socket_and_an_address(tmp_path: Path, store_server: StoreServer):
    path = tmp_path / "run" / "api.sock"
    listen = ["127.0.0.1:0", "unix:run/api.sock"]
    async with rig(tmp_path, store_server, admin_api=section(listen)) as running:
        api = Api.of(running)
        assert (await api.ask("GET", "/v1/accounts", by="read")).status == 200
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http:
            there = Api(running, "http://localhost")
            assert (await there.ask("GET", "/v1/accounts", by="read", http=http)).status == 200
            assert (await there.ask("GET", "/v1/accounts", by=None, http=http)).code == "token_missing"
        line = await api.logged("admin_api_listening")
        assert "unix:" in line["listen"]
    assert not path.exists()


async def test_a_unix_socket_alone(tmp_path: Path, store_server: StoreServer):
    (tmp_path / "s").write_bytes(b"")
    with pytest.raises(OSError, match="a file that is no socket is in its place"):
        async with rig(tmp_path, store_server, admin_api=section("unix:s")):
            raise AssertionError("it has begun")
    async with rig(tmp_path, store_server, admin_api=section("unix:t")) as running:
        assert "admin_api" not in running.sidecar.addresses
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "t"))) as http:
            assert (await Api(running, "http://localhost").ask("GET", "/v1/accounts", http=http)).status == 200


# --- metrics -----------------------------------------------------------------------------------------


async def test_requests_and_problems_are_counted(tmp_path: Path, store_server: StoreServer):
    async with rig(tmp_path, store_server, admin_api=section()) as running:
        api = Api.of(running)
        for path in ("/v1/accounts", "/v1/accounts", "/v1/accounts/none"):
            await api.ask("GET", path)
        assert await running.metric('mcp_sidecar_admin_api_requests_total{operation="listAccounts"}') == 2
        assert await running.metric('mcp_sidecar_admin_api_requests_total{operation="changeCredits"}') == 0
        assert await running.metric('mcp_sidecar_admin_api_problems_total{code="account_unknown"}') == 1


async def test_without_the_section_there_is_no_api(tmp_path: Path, store_server: StoreServer):
    async with rig(tmp_path, store_server) as running:
        assert "admin_api" not in running.sidecar.addresses
        assert "admin_api_listening" not in {line["event"] for line in running.log}
        headers = {"Authorization": f"Bearer {token_of('all')}"}
        for base in (running.admin, running.url.removesuffix("/mcp")):
            async with running.http.get(f"{base}/v1/accounts", headers=headers) as answer:
                assert answer.status in (401, 404)
