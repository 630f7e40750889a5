"""Requests to issuers by a real forwarding proxy, with authorities of their own, and failures in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from sidecar.config.settings.settings import IssuerSettings
from sidecar.errors import ErrorCode
from sidecar.identity.authenticator import Authenticator
from sidecar.identity.egress import issuer_client
from sidecar.identity.egress.proxies import Proxies
from sidecar.identity.issuers import IssuerRegistry
from tests.identity.support import refused
from tests.support.certificates import Authority
from tests.support.forward_proxy import ForwardProxy
from tests.support.introspection import Introspection
from tests.support.issuer import PATH, RESOURCE, Issuer

NAMED = (x509.DNSName("issuer.test"),)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def secure(authority: Authority) -> AsyncIterator[Issuer]:
    """An issuer with https, known as `issuer.test` to the proxy alone."""
    async with Issuer(tls=authority.server(authority.issue("issuer", alternatives=NAMED))) as issuer:
        yield renamed(issuer, "https")


@pytest.fixture
async def plain() -> AsyncIterator[Issuer]:
    async with Issuer() as issuer:
        yield renamed(issuer, "http")


def port_of(issuer: Issuer) -> int:
    assert issuer._port is not None
    return issuer._port


def renamed(issuer: Issuer, scheme: str) -> Issuer:
    issuer.url = f"{scheme}://issuer.test{PATH}"
    return issuer


def settings(issuer: Issuer, **keys: Any) -> IssuerSettings:
    return IssuerSettings.model_validate({"issuer": issuer.url, **keys})


async def problem(issuer: IssuerSettings, **environ: str) -> str | None:
    """The reason why its keys are not available; None when they are."""
    async with IssuerRegistry(proxies=Proxies.of(environ)) as ring:
        await ring.of(issuer).refresh()
        return ring.health(issuer).problem


# --- proxies -------------------------------------------------------------------------------------


async def test_https_goes_through_a_tunnel(secure: Issuer, authority: Authority):
    async with ForwardProxy({"issuer.test": port_of(secure)}) as proxy:
        given = settings(secure, tls={"ca": authority.cert})
        assert await problem(given, https_proxy=f"http://{proxy.address}") is None
        assert set(proxy.requests) == {"CONNECT issuer.test:443 HTTP/1.1"}
        assert PATH.encode() not in proxy.seen


async def test_http_goes_in_absolute_form(plain: Issuer):
    async with ForwardProxy({"issuer.test": port_of(plain)}, "ada:SECRET") as proxy:
        given = settings(plain, insecure_http=True)
        assert await problem(given, http_proxy=f"ada:SECRET@{proxy.address}") is None
        assert f"GET {plain.jwks_uri} HTTP/1.1" in proxy.requests
        said = await problem(given, http_proxy=f"ada@{proxy.address}")
        assert said is not None
        assert "status 407" in said


async def test_the_proxy_gets_its_credentials_and_the_log_does_not(secure: Issuer, authority: Authority):
    given = settings(secure, tls={"ca": authority.cert})
    async with ForwardProxy({"issuer.test": port_of(secure)}, "ada:SECRET") as proxy:
        assert await problem(given, https_proxy=f"http://ada:SECRET@{proxy.address}") is None
        said = await problem(given, https_proxy=f"http://ada:SECRE7@{proxy.address}")
        assert said is not None
        assert f"the proxy http://{proxy.address} answered 407" in said
        assert "SECRE" not in said
        assert not [each for each in secure.request_headers if "proxy-authorization" in each]
    said = await problem(given, https_proxy=f"http://ada:SECRET@{proxy.address}")
    assert said is not None
    assert said.endswith(f"(ClientProxyConnectionError) through the proxy http://{proxy.address}")


async def test_hosts_of_no_proxy_are_asked_directly(plain: Issuer):
    async with ForwardProxy({"issuer.test": port_of(plain)}) as proxy:
        said = await problem(settings(plain, insecure_http=True), http_proxy=proxy.address, no_proxy="test")
        assert proxy.requests == []
    assert said is not None
    assert "the connection failed" in said


async def test_without_a_usable_proxy_nothing_is_sent(plain: Issuer):
    said = await problem(settings(plain, insecure_http=True), http_proxy="socks5://127.0.0.1:1")
    assert said is not None
    assert said.endswith("the proxy in http_proxy is not an http:// URL")


async def test_introspection_goes_through_the_proxy_without_credentials_of_netrc(
    plain: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aiohttp_server: Any
):
    (tmp_path / ".netrc").write_text("default login ada password SECRET\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    endpoint = await Introspection(issuer=plain.url).serve(aiohttp_server)
    port = int(endpoint.url.split(":")[2].partition("/")[0])
    asked = {**endpoint.settings, "url": "http://asked.test/introspect"}
    async with ForwardProxy({"asked.test": port, "issuer.test": port_of(plain)}) as proxy:
        async with IssuerRegistry(proxies=Proxies.of({"HTTP_PROXY": proxy.address})) as ring:
            gate = Authenticator(RESOURCE, [settings(plain, insecure_http=True, introspection=asked)], ring)
            assert (await gate.authenticate(endpoint.bearer())).subject == "ada"
            assert (await gate.authenticate(list(plain.bearer().values()))).subject == "ada"
        assert "POST http://asked.test/introspect HTTP/1.1" in proxy.requests
    assert plain.request_headers
    assert not [each for each in plain.request_headers if "authorization" in each]


# --- authorities ---------------------------------------------------------------------------------


@pytest.fixture
async def here(authority: Authority) -> AsyncIterator[Issuer]:
    """An issuer with https on loopback."""
    async with Issuer(tls=authority.server(authority.issue("here"))) as issuer:
        issuer.url = issuer.url.replace("http://", "https://")
        yield issuer


async def test_the_configured_authorities_are_trusted_and_no_others(here: Issuer, authority: Authority, tmp_path: Path):
    assert await problem(settings(here, tls={"ca": authority.cert})) is None
    for given in (settings(here), settings(here, tls={"ca": Authority(tmp_path, "other").cert})):
        said = await problem(given)
        assert said is not None
        assert "its certificate is not trusted" in said
    assert here.key_fetches == 1


async def test_introspection_trusts_them_too(authority: Authority, aiohttp_server: Any, here: Issuer):
    endpoint = await Introspection(issuer=here.url).serve(aiohttp_server)
    async with TlsFront(authority, endpoint) as url:
        for ca, expected in ((authority.cert, None), (None, ErrorCode.ISSUER_UNAVAILABLE)):
            tls = {} if ca is None else {"tls": {"ca": ca}}
            given = settings(here, introspection={**endpoint.settings, "url": url}, **tls)
            async with IssuerRegistry() as ring:
                gate = Authenticator(RESOURCE, [given], ring)
                if expected is None:
                    assert (await gate.authenticate(endpoint.bearer())).subject == "ada"
                else:
                    with refused(expected) as info:
                        await gate.authenticate(endpoint.bearer())
                    assert "its certificate is not trusted" in str(info.value.log)


async def test_authorities_are_read_again_when_their_file_changes(
    here: Issuer, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(issuer_client, "CHECK_EVERY", 0.0)
    ca = tmp_path / "ca.pem"
    client = issuer_client._Authorities(ca)
    with pytest.raises(issuer_client.EgressError, match=r"tls\.ca: cannot be read \(No such file or directory\)"):
        await client.context()
    ca.write_bytes(authority.cert.read_bytes())
    first = await client.context()
    assert await client.context() is first
    ca.write_text("nothing")
    assert await client.context() is first
    ca.write_bytes(Authority(tmp_path, "other").cert.read_bytes())
    assert await client.context() is not first


# --- http to other machines ----------------------------------------------------------------------


async def test_insecure_http_permits_keys_on_another_host(plain: Issuer):
    async with ForwardProxy({"issuer.test": port_of(plain), "keys.test": port_of(plain)}) as proxy:
        plain.metadata = {"jwks_uri": f"http://keys.test{PATH}/jwks"}
        said = await problem(settings(plain, insecure_http=True), http_proxy=proxy.address)
        assert said is None
        assert f"GET http://keys.test{PATH}/jwks HTTP/1.1" in proxy.requests


class TlsFront:
    """An https server before an introspection endpoint."""

    def __init__(self, authority: Authority, endpoint: Introspection) -> None:
        self._context = authority.server(authority.issue("front"))
        self._port = int(endpoint.url.split(":")[2].partition("/")[0])
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/introspect"

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, sending = await asyncio.open_connection("127.0.0.1", self._port)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        await asyncio.gather(copy(reader, sending), copy(upstream, writer))
