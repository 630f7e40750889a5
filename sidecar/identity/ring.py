"""What a process keeps of its issuers from one config to the next: their keys, and whom to ask about tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import aiohttp

from sidecar.config.settings import Issuer
from sidecar.identity.discovery import KeySource, session
from sidecar.identity.endpoint import Clock, Endpoint
from sidecar.identity.introspection import Introspector
from sidecar.identity.keys import KeySet

_Key = tuple[object, ...]


class KeyRing:
    """The key sets of all issuers, and the introspection endpoint of the one that has one.

    It outlives a reload, so that a new config finds its keys warm. Use as a context manager, inside the
    event loop that uses it.

    Args:
        monotonic: seconds of a clock that never jumps.
        clock: seconds since the epoch.
        introspected: called with the outcome of every question about an opaque token.
    """

    def __init__(
        self,
        *,
        monotonic: Clock = time.monotonic,
        clock: Clock = time.time,
        introspected: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self.monotonic = monotonic
        self._clock = clock
        self._introspected = introspected
        self._client: aiohttp.ClientSession | None = None
        self._sets: dict[_Key, KeySet] = {}
        self._endpoints: dict[_Key, Endpoint] = {}
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._client = session()
        self._keeper = asyncio.create_task(self._keep(), name="keep keys fresh")
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

    def of(self, issuer: Issuer) -> KeySet:
        """The issuer's key set: the same one for as long as the same is configured."""
        key = _signer(issuer)
        if key not in self._sets:
            source = KeySource(self._open, issuer.issuer, issuer.jwks_uri)
            self._sets[key] = KeySet(issuer, source.fetch, monotonic=self.monotonic, clock=self._clock)
        return self._sets[key]

    def endpoint(self, issuer: Issuer) -> Endpoint | None:
        """Whom to ask about the issuer's opaque tokens, the same as long as the same is configured, if anybody."""
        if issuer.introspection is None:
            return None
        key = _asked(issuer)
        if key not in self._endpoints:
            ask = Introspector(self._open, issuer.introspection).ask
            made = Endpoint(ask, monotonic=self.monotonic, clock=self._clock, told=self._introspected)
            self._endpoints[key] = made
            made.tend()
        return self._endpoints[key]

    def lack(self, issuer: Issuer) -> str | None:
        """Why no token of the issuer can be judged; None while some can."""
        health, endpoint = self.of(issuer).health(), self.endpoint(issuer)
        if health.keys or (endpoint is not None and endpoint.problem is None):
            return None
        if endpoint is not None:
            return f"introspection: {endpoint.problem}"
        return health.problem or "not fetched yet"

    async def retain(self, issuers: Iterable[Issuer]) -> None:
        """Leave every issuer alone but these: to be called when a reload is done."""
        kept = list(issuers)
        for key in self._sets.keys() - {_signer(issuer) for issuer in kept}:
            await self._sets.pop(key).close()
        for key in self._endpoints.keys() - {_asked(issuer) for issuer in kept}:
            await self._endpoints.pop(key).close()

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._client is None:
            raise RuntimeError("the key ring is not open")
        return self._client

    async def _keep(self) -> None:
        """Do what is due, also when nobody calls: readiness depends on it."""
        while True:
            for keys in list(self._sets.values()):
                keys.tend()
            for endpoint in list(self._endpoints.values()):
                endpoint.tend()
            await asyncio.sleep(1)


def _signer(issuer: Issuer) -> _Key:
    return issuer.issuer, issuer.jwks_uri, tuple(issuer.algorithms), issuer.signs


def _asked(issuer: Issuer) -> _Key:
    asked = issuer.introspection
    return () if asked is None else (asked.url, asked.client_id, asked.client_secret)
