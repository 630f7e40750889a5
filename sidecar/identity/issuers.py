"""Keys and introspection endpoints of all issuers, kept across reloads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import aiohttp

from sidecar.config.settings.issuer_access import ANY, PLACEHOLDER
from sidecar.config.settings.issuer_settings import COMMON
from sidecar.config.settings.settings import IssuerSettings
from sidecar.identity.egress.issuer_client import IssuerClient
from sidecar.identity.egress.proxies import Proxies
from sidecar.identity.jwt import key_file
from sidecar.identity.jwt.discovery import KeySource, session
from sidecar.identity.jwt.issuer_keys import KeyHealth, KeySet
from sidecar.identity.opaque.introspection import Introspector
from sidecar.identity.opaque.introspection_endpoint import Clock, IntrospectionEndpoint
from sidecar.identity.parties.tenants import each_tenant

_Key = tuple[object, ...]


class IssuerRegistry:
    """Key sets of all issuers, and the introspection endpoint of the issuer that has one.

    It survives a reload, so that a new config finds its keys cached. Use it as a context manager, inside the event loop
    that uses it.

    Args:
        monotonic: seconds of a clock that never jumps.
        clock: seconds since the epoch.
        introspected: called with the outcome of every introspection request.
        evicted: called with the kind of each cached token that is evicted.
        proxies: of the environment, for requests to issuers.
        unmatched: called with an issuer and a configured scope path that its tokens do not have.
    """

    def __init__(
        self,
        *,
        monotonic: Clock = time.monotonic,
        clock: Clock = time.time,
        introspected: Callable[[str], None] = lambda outcome: None,
        evicted: Callable[[str], None] = lambda kind: None,
        proxies: Proxies | None = None,
        unmatched: Callable[[str, str], None] = lambda issuer, path: None,
    ) -> None:
        self.monotonic = monotonic
        self.evicted = evicted
        self.unmatched = unmatched
        self._clock = clock
        self._introspected = introspected
        self._proxies = proxies
        self._client: aiohttp.ClientSession | None = None
        self._sets: dict[_Key, KeySet] = {}
        self._endpoints: dict[_Key, IntrospectionEndpoint] = {}
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._client = session()
        self._keeper = asyncio.create_task(self._keep_fresh(), name="keep keys fresh")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        await self.retain([])
        if self._client is not None:
            await self._client.close()

    def key_sets(self, issuer: IssuerSettings) -> dict[str, KeySet]:
        """Return the key sets of a configured issuer, by the `iss` of the tokens that they verify.

        Tenants have sets of their own, unless they share a configured location. Of an issuer for any tenant the only
        set is by the identifier with the placeholder, so that no token causes another fetch.
        """
        if _is_shared(issuer):
            keys = self.of(issuer)
            return dict.fromkeys(issuer.identifiers or (issuer.issuer,), keys)
        return {tenant.issuer: self.of(tenant) for tenant in each_tenant(issuer)}

    def of(self, issuer: IssuerSettings) -> KeySet:
        """Return one key set: the same object while its settings are unchanged.

        Args:
            issuer: the issuer or, where each has keys of its own, one tenant of it.
        """
        key = _signer(issuer)
        if key not in self._sets:
            self._sets[key] = self._made(issuer)
        return self._sets[key]

    def health(self, issuer: IssuerSettings) -> KeyHealth:
        """Return the state of all keys of a configured issuer: the oldest fetch, and the first failure."""
        each = [keys.health() for keys in dict.fromkeys(self.key_sets(issuer).values())]
        ages = [health.age for health in each if health.age is not None]
        problem = next((health.problem for health in each if health.problem is not None), None)
        return KeyHealth(sum(health.keys for health in each), max(ages, default=None), problem)

    def endpoint(self, issuer: IssuerSettings) -> IntrospectionEndpoint | None:
        """Return the issuer's introspection endpoint, the same object while its settings are unchanged, if any."""
        if issuer.introspection is None:
            return None
        key = _asked(issuer)
        if key not in self._endpoints:
            ask = Introspector(self.client(issuer), issuer.introspection).ask
            made = IntrospectionEndpoint(ask, monotonic=self.monotonic, clock=self._clock, report=self._introspected)
            self._endpoints[key] = made
            made.probe_if_due()
        return self._endpoints[key]

    def unavailable_reason(self, issuer: IssuerSettings) -> str | None:
        """Return why no token of the issuer can be judged; None while some can."""
        health, endpoint = self.health(issuer), self.endpoint(issuer)
        if health.keys or (endpoint is not None and endpoint.problem is None):
            return None
        if endpoint is not None:
            return f"introspection: {endpoint.problem}"
        return health.problem or "not fetched yet"

    async def retain(self, issuers: Iterable[IssuerSettings]) -> None:
        """Drop all issuers except these; call it after a reload."""
        kept = list(issuers)
        used = {_signer(each) for issuer in kept for each in ((issuer,) if _is_shared(issuer) else each_tenant(issuer))}
        for key in self._sets.keys() - used:
            await self._sets.pop(key).close()
        for key in self._endpoints.keys() - {_asked(issuer) for issuer in kept}:
            await self._endpoints.pop(key).close()

    def client(self, issuer: IssuerSettings) -> IssuerClient:
        """Return a client for requests to an issuer, with its authorities and the proxies of the environment."""
        return IssuerClient(self._open, None if issuer.tls is None else issuer.tls.ca, self._proxies)

    def source(self, issuer: IssuerSettings, client: IssuerClient) -> KeySource:
        """Return the source of an issuer's metadata and keys."""
        return KeySource(
            client,
            issuer.issuer.replace(PLACEHOLDER, COMMON),
            issuer.jwks_uri,
            named=issuer.issuer,
            insecure_http=issuer.insecure_http,
            trial=issuer.accepts_trials,
        )

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._client is None:
            raise RuntimeError("the issuer registry is not open")
        return self._client

    def _made(self, issuer: IssuerSettings) -> KeySet:
        if issuer.jwks is not None:
            source = key_file.KeyFileSource(issuer.jwks.file)
            every = key_file.CHECK_EVERY
            return KeySet(
                issuer, source.fetch, monotonic=self.monotonic, clock=self._clock, interval=every, refresh=every
            )
        asked = self.source(issuer, self.client(issuer))
        return KeySet(issuer, asked.fetch, monotonic=self.monotonic, clock=self._clock)

    async def _keep_fresh(self) -> None:
        """Refresh keys and probe endpoints when due, even without traffic: readiness depends on it."""
        while True:
            for keys in list(self._sets.values()):
                keys.refresh_if_due()
            for endpoint in list(self._endpoints.values()):
                endpoint.probe_if_due()
            await asyncio.sleep(1)


def _is_shared(issuer: IssuerSettings) -> bool:
    """Return whether one key set is for all tenants; also True for an issuer without tenants."""
    return issuer.tenants is None or issuer.tenants == ANY or issuer.jwks_uri is not None or issuer.jwks is not None


def _signer(issuer: IssuerSettings) -> _Key:
    way = (issuer.jwks_uri, issuer.jwks, issuer.tls, issuer.insecure_http)
    return issuer.issuer, *way, tuple(issuer.algorithms), issuer.signs, issuer.tenants is None, issuer.accepts_trials


def _asked(issuer: IssuerSettings) -> _Key:
    asked = issuer.introspection
    return () if asked is None else (asked.url, asked.client_id, asked.client_secret, issuer.tls)
