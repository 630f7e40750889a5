"""Fetch an issuer's key set: one small document from a configured place, or the reason for the failure.

Redirects are not followed, nothing is decompressed, and size and time are limited: the issuer's answer decides which
tokens are accepted, so it is read only from the configured place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp

from sidecar.identity import issuer_json
from sidecar.identity.egress.issuer_client import EgressError, IssuerClient
from sidecar.identity.invalid_token import shown
from sidecar.identity.jwt.trial_mark import REFUSED, is_trial
from sidecar.system.dialing import ATTEMPT_DELAY
from sidecar.system.resolver import Resolver

TIMEOUT: Final = 5.0
"""Seconds that one attempt may take, discovery included."""
MAX_DOCUMENT: Final = 512 * 1024
"""Bytes of a metadata document or a key set."""

T = TypeVar("T")


class FetchError(Exception):
    """Failure to fetch a document; the message is for the operator and contains nothing of it."""


class _UnusableError(FetchError):
    """Answer that is not the document: another location may have it."""


def session(resolver: Resolver | None = None) -> aiohttp.ClientSession:
    """Return an HTTP client for key sets; create it in a running event loop, and close it.

    Args:
        resolver: resolves issuers' names. aiohttp's own resolver uses a thread pool that the process must wait for
            when it ends.
    """
    connector = aiohttp.TCPConnector(
        resolver=resolver or Resolver(),
        use_dns_cache=False,  # the resolver has a cache
        happy_eyeballs_delay=ATTEMPT_DELAY,
        interleave=1,
    )
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "mcp-policy-sidecar"},
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
    )


def metadata_locations(issuer: str) -> tuple[str, ...]:
    """Return the possible locations of an issuer's metadata, in order (RFC 8414 section 3, MCP discovery)."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    locations = (
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}/.well-known/openid-configuration{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    )
    return tuple(dict.fromkeys(locations))


def bare(location: str) -> str:
    """Return a URL for messages to the operator, without userinfo, query and fragment."""
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]


class KeySource:
    """Location of one issuer's key set.

    Args:
        client: sends the requests.
        issuer: the issuer identifier, for discovery.
        jwks_uri: the configured location of the key set; None to discover it.
        named: the `issuer` of its metadata, when it is another text than the identifier.
        insecure_http: True permits keys by http from any host.
        trial: True accepts a trial issuer.
    """

    def __init__(
        self,
        client: IssuerClient,
        issuer: str,
        jwks_uri: str | None = None,
        *,
        named: str | None = None,
        insecure_http: bool = False,
        trial: bool = True,
    ) -> None:
        self._client = client
        self._issuer = issuer
        self._configured = jwks_uri
        self._named = issuer if named is None else named
        self._insecure_http = insecure_http
        self._trial = trial
        self._found: str | None = None
        self._asked = issuer  # the location of the newest request

    async def fetch(self) -> object:
        """Return the parsed key set, within `TIMEOUT`.

        Raises:
            FetchError: it is unavailable.
        """
        return await self._in_time(self._fetch())

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(TIMEOUT):
                return await work
        except TimeoutError:
            problem = "no answer in time"
        except FetchError as error:
            problem = str(error)
        except (aiohttp.ClientError, EgressError, OSError, ValueError) as error:
            problem = self._client.describe(error, self._asked)
        raise FetchError(f"{bare(self._asked)}: {problem}")

    async def _fetch(self) -> object:
        location = self._configured or self._found or await self._discover()
        # Until the key set is fetched, its location is in doubt: the issuer may have moved it.
        self._found = None
        document = await self._get(location, "the key set")
        self._found = location
        return document

    async def metadata(self) -> Mapping[str, Any]:
        """Return the issuer's own metadata, within `TIMEOUT`; an OpenID provider's is preferred.

        Raises:
            FetchError: it is unavailable.
        """
        locations = sorted(metadata_locations(self._issuer), key=lambda each: "openid" not in each)
        return await self._in_time(self._first(locations, self._own))

    async def _discover(self) -> str:
        return await self._first(metadata_locations(self._issuer), self._key_location)

    async def _first(self, locations: Sequence[str], read: Callable[[Mapping[str, Any]], T]) -> T:
        """Return what can be read from the first usable document."""
        problems: list[str] = []
        for location in locations:
            try:
                return read(await self._get(location, "the metadata"))
            except _UnusableError as error:
                problems.append(str(error) if not problems else f"{bare(location)}: {error}")
        # The operator sees every location: the issuer may have its metadata at a single one, with another fault.
        self._asked = locations[0]
        raise FetchError("; ".join(problems))

    def _own(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return metadata that is this issuer's; refuse that of another one."""
        if is_trial(document) and not self._trial:
            raise FetchError(REFUSED)
        # RFC 8414 section 3.3: the document must be this issuer's own.
        if document.get("issuer") != self._named:
            found, expected = shown(document.get("issuer")), shown(self._named)
            raise _UnusableError(f"the metadata is that of issuer {found}, not of the configured {expected}")
        return document

    def _key_location(self, document: Mapping[str, Any]) -> str:
        location = self._own(document).get("jwks_uri")
        if not isinstance(location, str) or not self.trusts(location):
            raise _UnusableError(f"the metadata has no usable jwks_uri (found {shown(location)})")
        return location

    def trusts(self, location: str) -> bool:
        """Return whether an endpoint may be there: https, or http on the host of an issuer configured with http.

        RFC 3986 section 2: a URL is visible ASCII; messages to the operator repeat it.
        """
        if not location.isascii() or not location.isprintable() or " " in location:
            return False
        parts, issuer = urlsplit(location), urlsplit(self._issuer)
        if parts.scheme == "http":
            own = issuer.scheme == "http" and parts.hostname == issuer.hostname
            return own or (self._insecure_http and bool(parts.hostname))
        return parts.scheme == "https" and bool(parts.hostname)

    async def _get(self, location: str, what: str) -> Mapping[str, Any]:
        self._asked = location
        async with self._client.session.get(location, **await self._client.options(location)) as response:
            kind = shown(response.content_type)
            if response.status != 200:
                raise _UnusableError(f"{what} was answered with status {response.status} ({kind})")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise _UnusableError(f"{what} came compressed, although that was declined")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_DOCUMENT:
                    raise _UnusableError(f"{what} is larger than {MAX_DOCUMENT} bytes")
        try:
            return issuer_json.parse_object(bytes(body))
        except issuer_json.IssuerJsonError as error:
            raise _UnusableError(f"{what} {error} ({kind})") from None
