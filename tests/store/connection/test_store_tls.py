"""TLS to the store: verified, or nothing is sent; what is wrong is said."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from cryptography import x509

from sidecar.config.files import load_settings
from sidecar.store.connection.store_connection import StoreConnection, UnsentError
from sidecar.store.connection.store_url import parse_url
from tests.support import debian
from tests.support.certificates import Authority, Pair, refusing
from tests.support.store import StoreServer, free_port, until
from tests.support.tls_store import TlsProxy

OTHER_HOST = (x509.DNSName("valkey.example.com"), x509.IPAddress(ipaddress.ip_address("127.0.0.9")))


@dataclass(frozen=True)
class Store:
    """A port that speaks TLS."""

    port: int

    def url(self, host: str = "127.0.0.1", **files: object) -> str:
        query = "&".join(f"{name}={quote(str(path))}" for name, path in files.items())
        return f"rediss://{host}:{self.port}" + (f"?{query}" if query else "")


Serve = Callable[..., Awaitable[Store]]


@pytest.fixture(params=["in front of valkey", "redis itself"])
async def serve(request: pytest.FixtureRequest, own_server: StoreServer, authority: Authority) -> AsyncIterator[Serve]:
    """Starts a store that shows a certificate, and may ask its clients for theirs."""
    async with AsyncExitStack() as stack:

        async def in_front(pair: Pair, *, ask: bool = False) -> Store:
            tls = authority.server(pair, ask=ask)
            return Store((await stack.enter_async_context(TlsProxy(own_server.path, tls))).port)

        async def itself(pair: Pair, *, ask: bool = False) -> Store:
            port = free_port()
            files = ("--tls-cert-file", str(pair.cert), "--tls-key-file", str(pair.key))
            trusted = ("--tls-ca-cert-file", str(authority.cert), "--tls-auth-clients", "yes" if ask else "no")
            options = ("--tls-port", str(port), *files, *trusted)
            server = StoreServer(options=options, binary=debian.redis_server())
            stack.callback(server.close)
            server.start()
            return Store(port)

        if request.param == "redis itself":
            debian.redis_server()
            yield itself
        else:
            yield in_front


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[StoreConnection]:
    connection = StoreConnection(parse_url(url))
    try:
        await connection.start(within=60)
        yield connection
    finally:
        await connection.close()


async def refusal(url: str) -> str:
    """Return the error of connecting to a store."""
    connection = StoreConnection(parse_url(url))
    try:
        with pytest.raises(UnsentError):
            await connection.start(within=0)
        await until(lambda: connection.fault is not None)
        assert not connection.up
        return connection.error or ""
    finally:
        await connection.close()


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


async def test_a_verified_store_is_used(serve: Serve, authority: Authority):
    store = await serve(authority.issue("server"))
    for host in ("127.0.0.1", "localhost"):
        async with connected(store.url(host, ca=authority.cert)) as connection:
            assert await connection.call("SET", "a", "x" * 100_000) == b"OK"
            assert await connection.call("GET", "a") == b"x" * 100_000


async def test_a_store_of_another_authority_is_not_trusted(serve: Serve, authority: Authority, tmp_path: Path):
    store = await serve(authority.issue("server"))
    stranger = Authority(tmp_path, "stranger")
    for url in (store.url(ca=stranger.cert), store.url()):
        said = await refusal(url)
        assert said.startswith("the store cannot be trusted: its certificate is not trusted (")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"alternatives": OTHER_HOST}, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ({"days": -0.5}, "certificate has expired"),
        ({"begins": 0.5}, "certificate is not yet valid"),
    ],
)
async def test_a_certificate_that_is_not_for_this_host_now(
    serve: Serve, authority: Authority, made: dict[str, Any], why: str
):
    store = await serve(authority.issue("server", **made))
    assert why in await refusal(store.url(ca=authority.cert))


async def test_nothing_is_sent_to_a_store_that_is_not_trusted(own_server: StoreServer, authority: Authority):
    pair = authority.issue("server", alternatives=OTHER_HOST)
    async with TlsProxy(own_server.path, authority.server(pair)) as proxy:
        url = f"rediss://user:hunter2@127.0.0.1:{proxy.port}?ca={quote(str(authority.cert))}"
        assert "hunter2" not in await refusal(url)
        assert proxy.passed == 0


async def test_a_store_without_tls_is_not_talked_to(authority: Authority):
    port = free_port()
    server = StoreServer(options=("--port", str(port))).start()
    try:
        with server.client() as client:
            said = await refusal(f"rediss://user:hunter2@127.0.0.1:{port}?ca={quote(str(authority.cert))}")
            assert "does it speak TLS on this port?" in said
            assert "hunter2" not in said
            assert client.execute_command("ACL", "LOG") == []  # the password was never sent without TLS
    finally:
        server.close()


async def test_an_old_version_of_tls_is_not_spoken(authority: Authority):
    tls = authority.server(authority.issue("server"))
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        tls.minimum_version, tls.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with refusing(tls) as url:
        said = await refusal(Store(port_of(url)).url(ca=authority.cert))
    assert said.startswith("the store cannot be trusted: TLS failed (")
    assert "protocol version" in said


async def test_a_client_certificate_is_shown_to_a_store_that_asks(serve: Serve, authority: Authority):
    store = await serve(authority.issue("server"), ask=True)
    mine = authority.issue("sidecar")
    async with connected(store.url(ca=authority.cert, **mine.files)) as connection:
        assert await connection.call("PING") == b"PONG"
    assert await refusal(store.url(ca=authority.cert))


async def test_a_store_that_refuses_this_client_is_reported(authority: Authority):
    with refusing(authority.server(authority.issue("server"), ask=True)) as url:
        said = await refusal(Store(port_of(url)).url(ca=authority.cert))
    assert said.startswith("the store refuses this client: TLS failed (")
    assert "certificate required" in said


async def test_certificates_that_were_renewed_are_shown_by_the_next_connection(
    own_server: StoreServer, authority: Authority, tmp_path: Path
):
    tls = authority.server(authority.issue("server"), ask=True)
    mine = Authority(tmp_path, "unknown").issue("sidecar")
    async with TlsProxy(own_server.path, tls) as proxy:
        endpoint = parse_url(Store(proxy.port).url(ca=authority.cert, **mine.files))
        connection = StoreConnection(endpoint)
        try:
            with pytest.raises(UnsentError):
                await connection.start(within=0)
            await until(lambda: connection.fault is not None)
            mine.key.write_text("half written")  # the old pair goes on until the new one is whole
            assert await endpoint.tls() is not None
            mine.become(authority.issue("renewed"))
            await connection.start(within=60)
            assert await connection.call("PING") == b"PONG"
        finally:
            await connection.close()


# --- files -------------------------------------------------------------------------------------


def test_unusable_files_are_reported_without_connecting(authority: Authority, tmp_path: Path):
    pair, locked = authority.issue("sidecar"), authority.issue("locked", passphrase="hunter2")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    wrong = {
        "ca=/nowhere.pem": r"ca in the store's URL: cannot be read \(No such file or directory\); accepted: a PEM file",
        f"ca={empty}": r"ca in the store's URL: no certificate ",
        f"cert={pair.cert}": r"cert without key or key without cert; accepted: both or neither",
        f"cert={locked.cert}&key={locked.key}": r"key in the store's URL: it is encrypted",
        f"cert={pair.cert}&key={locked.cert}": r"key in the store's URL: no private key",
    }
    for query, said in wrong.items():
        with pytest.raises(ValueError, match=said) as caught:
            parse_url(f"rediss://u:hunter2@h?{query}")
        assert "hunter2" not in str(caught.value)


async def test_paths_are_relative_to_the_config(authority: Authority, tmp_path: Path):
    authority.issue("sidecar")
    (tmp_path / "config.yaml").write_text(
        "resource: https://mcp.example.com/mcp\nbackend: {url: 'http://127.0.0.1:8000/mcp'}\n"
        "issuers: [{issuer: 'https://example.com/api/auth'}]\n"
        "store: {url: 'rediss://u:p%40@h:1/2?ca=authority.pem&cert=sidecar.pem&key=sidecar.key'}\n"
    )
    endpoint = parse_url(load_settings(tmp_path / "config.yaml", {}).store.url)
    assert (endpoint.addresses, endpoint.db, endpoint.username, endpoint.password) == ((("h", 1),), 2, "u", "p@")
    tls = await endpoint.tls()
    assert tls is not None
    assert tls.minimum_version == ssl.TLSVersion.TLSv1_2
    assert [each["subject"][0][0][1] for each in tls.get_ca_certs()] == ["authority"]


@pytest.mark.parametrize("password", ["pa\u2100ss", "p[ss"])
def test_a_url_that_cannot_be_taken_apart_is_not_quoted(password: str):
    with pytest.raises(ValueError, match=r"URL cannot be read: write special characters as %XX") as caught:
        parse_url(f"rediss://user:{password}@host")
    assert password not in str(caught.value)
