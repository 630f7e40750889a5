from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest

from sidecar.identity.egress.issuer_client import IssuerClient
from sidecar.identity.jwt import discovery
from sidecar.identity.jwt.discovery import FetchError, KeySource, metadata_locations, session
from sidecar.identity.jwt.key_set import ASYMMETRIC, KeyTable
from tests.support.issuer import Issuer


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer() as served:
        yield served


@pytest.fixture
async def client() -> AsyncIterator[IssuerClient]:
    async with session() as opened:
        yield IssuerClient(opened)


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
def test_metadata_is_requested_at_every_possible_location(issuer: str, locations: tuple[str, ...]):
    assert metadata_locations(issuer) == locations


async def test_keys_are_discovered_once(issuer: Issuer, client: IssuerClient):
    source = KeySource(client, issuer.url)
    for _ in range(3):
        assert await source.fetch() == issuer.jwks
    assert len(issuer.requests) == 1 + 3


@pytest.mark.parametrize("location", ["oauth", "openid", "appended"])
async def test_one_location_is_enough(issuer: Issuer, client: IssuerClient, location: str):
    issuer.well_known = {location}
    assert await KeySource(client, issuer.url).fetch() == issuer.jwks


async def test_an_issuer_may_end_with_a_slash(issuer: Issuer, client: IssuerClient):
    """RFC 8414 section 3.1 removes it from locations; section 3.3 compares the identifier with it."""
    issuer.metadata = {"issuer": f"{issuer.url}/"}
    assert await KeySource(client, f"{issuer.url}/").fetch() == issuer.jwks
    with pytest.raises(FetchError, match="not of the configured"):
        await KeySource(client, issuer.url).fetch()


async def test_a_configured_place_needs_no_metadata(issuer: Issuer, client: IssuerClient):
    issuer.well_known = set()
    assert await KeySource(client, issuer.url, issuer.jwks_uri).fetch() == issuer.jwks
    assert len(issuer.requests) == 1


async def test_without_metadata_there_are_no_keys(issuer: Issuer, client: IssuerClient):
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
        {"jwks_uri": "https://127.0.0.1/\x1b[2Jjwks"},  # messages repeat it, so it must not control a terminal
        {"jwks_uri": "https://127.0.0.1/\u202ejwks"},
        {"jwks_uri": "https://127.0.0.1/j w"},
    ],
)
async def test_metadata_must_be_the_issuers_own_and_name_a_safe_location(
    issuer: Issuer, client: IssuerClient, metadata: dict[str, object]
):
    issuer.metadata = dict(metadata)
    with pytest.raises(FetchError, match="the metadata"):
        await KeySource(client, issuer.url).fetch()
    assert issuer.key_fetches == 0


async def test_a_refused_metadata_document_is_named_with_its_values(issuer: Issuer, client: IssuerClient):
    issuer.metadata = {"issuer": "https://other.example"}
    with pytest.raises(FetchError, match=r"issuer https://other\.example, not of the configured http://127"):
        await KeySource(client, issuer.url).fetch()
    issuer.metadata = {"jwks_uri": "ftp://keys.example"}
    with pytest.raises(FetchError, match=r"no usable jwks_uri \(found ftp://keys\.example\)"):
        await KeySource(client, issuer.url).fetch()


@pytest.mark.parametrize("content_type", ["application/jwk-set+json", "application/json", "text/plain"])
async def test_documents_are_read_whatever_else_they_contain(issuer: Issuer, client: IssuerClient, content_type: str):
    """RFC 8414 section 2 and RFC 7517 section 5: unknown members are ignored, and so is the media type."""
    issuer.content_type = content_type
    issuer.metadata = {
        "JWKS_URI": "https://other.example",
        "claims_supported": ["sub"] * 200,
        "odd": [1e308, 10**30, -0.0, None, "\ud800", {"k" * 3000: "a\u0301" * 40}],
    }
    issuer.keys = [
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
        {**issuer.signer.jwk, "x5c": ["MII"], "x5t": "t", "x5u": "https://other.example", "nbf": 1, "x5t#S256": 7},
        "no key",
    ]
    fetched = await KeySource(client, issuer.url).fetch()
    assert len(KeyTable(fetched, ASYMMETRIC)) == 1
    assert all(path.endswith(("jwks", "api/auth")) for path in issuer.requests)


def test_an_https_issuer_is_never_left_for_http():
    source = KeySource(None, "https://i.example")  # type: ignore[arg-type]
    assert source.trusts("https://keys.example/jwks")
    assert not source.trusts("http://i.example/jwks")
    insecure = KeySource(None, "https://i.example", insecure_http=True)  # type: ignore[arg-type]
    assert insecure.trusts("http://keys/jwks")
    assert not insecure.trusts("http:///jwks")


async def test_a_failing_location_is_discovered_again(issuer: Issuer, client: IssuerClient):
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
async def test_redirects_are_not_followed(issuer: Issuer, client: IssuerClient, status: int):
    issuer.fault, issuer.headers = status, {"Location": issuer.jwks_uri}
    with pytest.raises(FetchError, match=f"status {status}"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()
    assert len(issuer.requests) == 1


@pytest.mark.parametrize("status", [201, 204, 400, 401, 404, 500, 503])
async def test_only_200_is_an_answer(issuer: Issuer, client: IssuerClient, status: int):
    issuer.fault = status
    with pytest.raises(FetchError, match=f"the key set was answered with status {status}"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is not JSON"),
        (b"<html>", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"keys":[],"keys":[]}', "repeats a member name: keys"),
        (b"\xff", "is not UTF-8"),
        (b"[" * 10_000, "is nested more than 64 levels deep"),
    ],
)
async def test_an_unreadable_key_set_is_refused_with_the_reason(
    issuer: Issuer, client: IssuerClient, body: bytes, reason: str
):
    issuer.body = body
    with pytest.raises(FetchError, match=f"the key set {reason}"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()


async def test_a_key_set_is_small(issuer: Issuer, client: IssuerClient):
    issuer.body = b" " * (discovery.MAX_DOCUMENT - 2) + b"{}"
    assert await KeySource(client, issuer.url, issuer.jwks_uri).fetch() == {}
    issuer.body = b" " + issuer.body
    with pytest.raises(FetchError, match="larger than"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()


async def test_compressed_answers_are_refused(issuer: Issuer, client: IssuerClient):
    issuer.body, issuer.headers = gzip.compress(json.dumps(issuer.jwks).encode()), {"Content-Encoding": "gzip"}
    with pytest.raises(FetchError, match="compressed"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()


async def test_a_fetch_from_a_hanging_issuer_times_out(
    issuer: Issuer, client: IssuerClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(discovery, "TIMEOUT", 0.05)
    issuer.hold.clear()
    with pytest.raises(FetchError, match="in time"):
        await KeySource(client, issuer.url).fetch()


async def test_an_unreachable_issuer_is_distinguished_from_a_hanging_one(issuer: Issuer, client: IssuerClient):
    await issuer.stop()
    with pytest.raises(FetchError, match=r"connection failed \(\w+\)"):
        await KeySource(client, issuer.url, issuer.jwks_uri).fetch()


async def test_a_server_that_speaks_no_http_is_a_failed_connection(client: IssuerClient):
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SECRET\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
        with pytest.raises(FetchError, match="connection failed") as info:
            await KeySource(client, "http://127.0.0.1", url).fetch()
    assert "SECRET" not in str(info.value)


async def test_cookies_are_neither_kept_nor_sent(issuer: Issuer, client: IssuerClient):
    issuer.headers = {"Set-Cookie": "a=b; Path=/"}
    source = KeySource(client, issuer.url, issuer.jwks_uri)
    await source.fetch()
    await source.fetch()
    assert "cookie" not in issuer.request_headers[-1]
    assert issuer.request_headers[-1]["accept-encoding"] == "identity"
