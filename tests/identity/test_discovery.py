from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from sidecar.identity import discovery
from sidecar.identity.discovery import FetchError, KeySource, metadata_locations, session
from tests.support.issuer import Issuer


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer() as served:
        yield served


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with session() as opened:
        yield opened


@pytest.mark.parametrize(
    ("issuer", "locations"),
    [
        (
            "https://i.example/api/auth",
            (
                "https://i.example/.well-known/oauth-authorization-server/api/auth",
                "https://i.example/.well-known/openid-configuration/api/auth",
                "https://i.example/api/auth/.well-known/openid-configuration",
            ),
        ),
        (
            "https://i.example:8443/",
            (
                "https://i.example:8443/.well-known/oauth-authorization-server",
                "https://i.example:8443/.well-known/openid-configuration",
            ),
        ),
    ],
)
def test_metadata_is_looked_for_where_it_may_be(issuer: str, locations: tuple[str, ...]):
    assert metadata_locations(issuer) == locations


async def test_keys_are_discovered_once(issuer: Issuer, client: aiohttp.ClientSession):
    source = KeySource(client, issuer.url)
    for _ in range(3):
        assert await source.fetch() == issuer.jwks
    assert len(issuer.requests) == 1 + 3


@pytest.mark.parametrize("location", ["oauth", "openid", "appended"])
async def test_one_location_is_enough(issuer: Issuer, client: aiohttp.ClientSession, location: str):
    issuer.well_known = {location}
    assert await KeySource(client, issuer.url).fetch() == issuer.jwks


async def test_a_configured_place_needs_no_metadata(issuer: Issuer, client: aiohttp.ClientSession):
    issuer.well_known = set()
    assert await KeySource(client, issuer.url, issuer.jwks_uri).fetch() == issuer.jwks
    assert len(issuer.requests) == 1


async def test_without_metadata_there_are_no_keys(issuer: Issuer, client: aiohttp.ClientSession):
    issuer.well_known = set()
    with pytest.raises(FetchError, match="the metadata was answered with status 404"):
        await KeySource(client, issuer.url).fetch()
    assert issuer.key_fetches == 0


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": None},
        {"issuer": "https://evil.example"},
        {"issuer": "https://issuer.example/api/auth"},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "ftp://127.0.0.1/jwks"},
        {"jwks_uri": "http://other.example/jwks"},
        {"jwks_uri": "/jwks"},
        {"jwks_uri": "https:///jwks"},
    ],
)
async def test_metadata_is_the_issuers_own_and_names_a_safe_place(
    issuer: Issuer, client: aiohttp.ClientSession, metadata: dict[str, object]
):
    issuer.metadata = dict(metadata)
    with pytest.raises(FetchError, match="the metadata"):
        await KeySource(client, issuer.url).fetch()
    assert issuer.key_fetches == 0


def test_an_https_issuer_is_never_left_for_http():
    source = KeySource(None, "https://i.example")  # type: ignore[arg-type]
    assert source._trustworthy("https://keys.example/jwks")
    assert not source._trustworthy("http://i.example/jwks")


async def test_a_place_that_fails_is_looked_up_again(issuer: Issuer, client: aiohttp.ClientSession):
    source = KeySource(client, issuer.url)
    await source.fetch()
    issuer.fault = 500
    with pytest.raises(FetchError, match="the key set was answered with status 500"):
        await source.fetch()
    issuer.fault = None
    before = len(issuer.requests)
    await source.fetch()
    assert len(issuer.requests) == before + 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(issuer: Issuer, client: aiohttp.ClientSession, status: int):
    issuer.fault, issuer.headers = status, {"Location": issuer.jwks_uri}
    with pytest.raises(FetchError, match=f"status {status}"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()
    assert len(issuer.requests) == 1


@pytest.mark.parametrize("status", [201, 204, 400, 401, 404, 500, 503])
async def test_only_200_is_an_answer(issuer: Issuer, client: aiohttp.ClientSession, status: int):
    issuer.fault = status
    with pytest.raises(FetchError, match=f"the key set was answered with status {status}"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"keys":[],"keys":[]}', b"\xff", b"[" * 10_000])
async def test_a_key_set_is_strict_json(issuer: Issuer, client: aiohttp.ClientSession, body: bytes):
    issuer.body = body
    with pytest.raises(FetchError, match="strict JSON"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()


async def test_a_key_set_is_small(issuer: Issuer, client: aiohttp.ClientSession):
    issuer.body = b" " * (discovery.MAX_DOCUMENT - 2) + b"{}"
    assert await KeySource(client, issuer.url, issuer.jwks_uri).fetch() == {}
    issuer.body = b" " + issuer.body
    with pytest.raises(FetchError, match="larger than"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()


async def test_nothing_is_unpacked(issuer: Issuer, client: aiohttp.ClientSession):
    issuer.body, issuer.headers = gzip.compress(json.dumps(issuer.jwks).encode()), {"Content-Encoding": "gzip"}
    with pytest.raises(FetchError, match="compressed"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()


async def test_an_issuer_that_hangs_is_given_up(
    issuer: Issuer, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(discovery, "TIMEOUT", 0.05)
    issuer.hold.clear()
    with pytest.raises(FetchError, match="in time"):
        await KeySource(client, issuer.url).fetch()


async def test_an_issuer_that_is_gone_is_told_from_one_that_hangs(issuer: Issuer, client: aiohttp.ClientSession):
    await issuer.stop()
    with pytest.raises(FetchError, match=r"connection failed \(\w+\)"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()


async def test_a_server_that_speaks_no_http_is_a_failed_connection(client: aiohttp.ClientSession):
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SECRET\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
        with pytest.raises(FetchError, match="connection failed") as info:
            await KeySource(client, "http://127.0.0.1", url).fetch()
    assert "SECRET" not in str(info.value)


async def test_cookies_are_neither_kept_nor_sent(issuer: Issuer, client: aiohttp.ClientSession):
    issuer.headers = {"Set-Cookie": "a=b; Path=/"}
    source = KeySource(client, issuer.url, issuer.jwks_uri)
    await source.fetch()
    await source.fetch()
    assert "cookie" not in issuer.request_headers[-1]
    assert issuer.request_headers[-1]["accept-encoding"] == "identity"
