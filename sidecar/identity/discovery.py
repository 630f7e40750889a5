"""Fetching an issuer's key set: one small document from a pinned place, or a short word why not.

Redirects are not followed, nothing is unpacked, and size and time are bounded: what an issuer's
server sends decides who may call, so it is taken from where the config says and nowhere else.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from sidecar.protocol import strictjson

TIMEOUT: Final = 5.0
"""Seconds that one attempt may take, discovery included."""
MAX_DOCUMENT: Final = 512 * 1024
"""Bytes of a metadata document or a key set."""


class FetchError(Exception):
    """A document could not be had; the message is for the operator and holds nothing it said."""


class _UnusableError(FetchError):
    """Something answered, but not with the document: another location may have it."""


def session() -> aiohttp.ClientSession:
    """A client for key sets; to be made inside a running event loop, and closed."""
    return aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "mcp-policy-sidecar"},
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
    )


def metadata_locations(issuer: str) -> tuple[str, ...]:
    """Where an issuer's metadata may be, in the order to try (RFC 8414 section 3, MCP discovery)."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    locations = (
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}/.well-known/openid-configuration{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    )
    return tuple(dict.fromkeys(locations))


class KeySource:
    """Where one issuer's key set is.

    Args:
        client: from `session`.
        issuer: the issuer identifier, for discovery.
        jwks_uri: the configured place of the key set; None discovers it.
    """

    def __init__(self, client: aiohttp.ClientSession, issuer: str, jwks_uri: str | None = None) -> None:
        self._client = client
        self._issuer = issuer
        self._configured = jwks_uri
        self._found: str | None = None

    async def fetch(self) -> object:
        """The parsed key set, within `TIMEOUT`.

        Raises:
            FetchError: it cannot be had.
        """
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._fetch()
        except TimeoutError:
            raise FetchError("no answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Only the kind of failure: messages of the client may quote what a server sent.
            raise FetchError(f"the connection failed ({type(error).__name__})") from None

    async def _fetch(self) -> object:
        location = self._configured or self._found or await self._discover()
        # Until the key set is there the place is in doubt: the issuer may have moved it.
        self._found = None
        document = await self._get(location, "the key set")
        self._found = location
        return document

    async def _discover(self) -> str:
        problem: FetchError = FetchError("no metadata location is known")
        for location in metadata_locations(self._issuer):
            try:
                return self._key_location(await self._get(location, "the metadata"))
            except _UnusableError as error:
                problem = error
        raise problem

    def _key_location(self, document: Any) -> str:
        # RFC 8414 section 3.3: the document must be this issuer's own.
        if not isinstance(document, dict) or document.get("issuer") != self._issuer:
            raise _UnusableError("the metadata is not that of the configured issuer")
        location = document.get("jwks_uri")
        if not isinstance(location, str) or not self._trustworthy(location):
            raise _UnusableError("the metadata has no usable jwks_uri")
        return location

    def _trustworthy(self, location: str) -> bool:
        """Keys come by https; by http only from the very host of an issuer configured with http."""
        parts, issuer = urlsplit(location), urlsplit(self._issuer)
        if parts.scheme == "http":
            return issuer.scheme == "http" and parts.hostname == issuer.hostname
        return parts.scheme == "https" and bool(parts.hostname)

    async def _get(self, location: str, what: str) -> object:
        async with self._client.get(location, allow_redirects=False) as response:
            if response.status != 200:
                raise _UnusableError(f"{what} was answered with status {response.status}")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise _UnusableError(f"{what} came compressed, although that was declined")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_DOCUMENT:
                    raise _UnusableError(f"{what} is larger than {MAX_DOCUMENT} bytes")
        try:
            return strictjson.parse(bytes(body)).plain
        except ValueError:
            raise _UnusableError(f"{what} is not a strict JSON document") from None
