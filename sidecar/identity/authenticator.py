"""Gate 2: the caller of a request, from its `Authorization` headers.

A JWT is verified once and cached by its digest, until it expires or its issuer's keys or the config change (a new
config makes a new authenticator). The issuer is asked about every other token (`opaque`), if introspection is
configured. The cache grants nothing: consent, account and budget are read from the store at every call, so a
revocation takes effect at once.

A token of three parts is judged by its signature only, even if it is malformed or its issuer is unknown: asking
about it would disclose tokens of other issuers.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sidecar.config.settings.settings import IssuerSettings
from sidecar.errors import Refusal
from sidecar.identity.claim_path import UnmatchedPaths
from sidecar.identity.claims import bearer
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.jwt.expired_tokens import ExpiredTokens
from sidecar.identity.jwt.issuer_keys import Keys, KeySet
from sidecar.identity.jwt.jwt_claims import caller, check, is_jwt, issuer_of, read
from sidecar.identity.jwt.refused_tokens import RefusedTokens
from sidecar.identity.opaque.opaque_tokens import OpaqueTokens
from sidecar.identity.parties.tenants import TrustedIssuers
from sidecar.identity.recent import Recent, owner_of
from sidecar.model import Caller
from sidecar.vocabulary import record

MAX_REMEMBERED: Final = 10_000
"""Tokens cached by one process; beyond that the least recently used is evicted and verified again."""


@record
class _Verified:
    """A verified JWT.

    Attributes:
        until: seconds since the epoch at which it expires (`claims.expired`).
        keys: of its issuer.
        table: the keys that verified it.
    """

    caller: Caller
    until: float
    keys: KeySet
    table: Keys


class Authenticator:
    """Gate 2 for one config.

    Args:
        resource: the configured resource: the audience of tokens.
        issuers: the configured issuers; each has its own identifier.
        ring: keys and endpoints of all issuers.
        clock: seconds since the epoch.
        capacity: the number of cached tokens.
        declared: the scopes that the policy declares; the cached callers depend on them.
    """

    def __init__(
        self,
        resource: str,
        issuers: Iterable[IssuerSettings],
        ring: IssuerRegistry,
        *,
        clock: Callable[[], float] = time.time,
        capacity: int = MAX_REMEMBERED,
        declared: Iterable[str] = (),
    ) -> None:
        self._resource = resource
        configured = tuple(issuers)
        self._declared = frozenset(declared)
        self._trusted = TrustedIssuers(configured)
        self._keys = {identifier: keys for issuer in configured for identifier, keys in ring.key_sets(issuer).items()}
        # By the id of the issuer: its tenants share them.
        self._paths = {
            issuer.id: UnmatchedPaths(issuer.claims.scopes or (), partial(ring.unmatched, issuer.issuer))
            for issuer in configured
        }
        self._opaque = self._opaque_tokens(configured, ring, clock)
        self._clock = clock
        self._remembered: Recent[bytes, _Verified] = Recent(capacity, lambda _: ring.evicted("token"))
        self._refused = RefusedTokens()
        self._expired = ExpiredTokens(resource, self._declared)

    async def authenticate(self, authorization: Sequence[str]) -> Caller:
        """Return the caller that sends the request.

        Args:
            authorization: the value of every `Authorization` header.

        Raises:
            Refusal: `token_missing`, `token_invalid`, or `issuer_unavailable` when the keys or the issuer's answer
                that would decide are unavailable. That of an expired JWT with a verified signature has its scopes.
        """
        token = bearer(authorization)
        digest = token_digest(token)
        caller = self.remembered(digest)
        return await self.verify(token, digest) if caller is None else caller

    async def verify(self, token: str, digest: bytes | None = None) -> Caller:
        """Return the caller of a token that is not remembered, as `authenticate` does, and remember it.

        Args:
            token: the token.
            digest: the token's, where it is known.
        """
        digest = digest or token_digest(token)
        if self._opaque is not None and not is_jwt(token):
            return await self._opaque.caller(token, digest)
        if digest in self._remembered:
            self._remembered.pop(digest)
        verified = await self._verify(token, digest)
        self._remembered.put(digest, owner_of(verified.caller), verified)
        return verified.caller

    def remembered(self, digest: bytes) -> Caller | None:
        """Return the caller of a JWT that is verified already; None if `authenticate` must decide.

        Args:
            digest: the token's (`token_digest`).

        Raises:
            Refusal: `token_invalid`; a signature that was refused is refused again.
        """
        known = self._remembered.get(digest)
        if known is None:
            refusal = self._refused.get(digest, self._clock())
            if refusal is not None:
                raise refusal
            return None
        if self._clock() >= known.until or known.keys.current() is not known.table:
            return None
        return known.caller

    async def _verify(self, compact: str, digest: bytes) -> _Verified:
        token = read(compact)
        settings, configured = self._trusted.of(issuer_of(token))
        # With any tenant accepted, all share the keys of the configured issuer: no token causes a set of its own.
        keys = self._keys.get(settings.issuer) or self._keys[configured.issuer]
        now = self._clock()
        try:
            check(token, settings, self._resource, now)
        except Refusal as refusal:
            raise self._expired.with_scopes(refusal, token, digest, settings, keys, now) from None
        # Made before the signature is verified and not returned before: a token that could not become a caller is
        # refused without fetching keys.
        speaker = caller(token, settings, now, self._declared)
        leeway = settings.leeway
        until = speaker.expires_at + leeway
        refused = partial(self._refuse, digest, until, keys)
        table = await keys.verify(token, speaker.issued_at, leeway, refused)
        self._note(settings.id, token.claims, speaker)
        return _Verified(speaker, until, keys, table)

    def _refuse(self, digest: bytes, until: float, keys: KeySet, table: Keys, refusal: Refusal) -> None:
        self._refused.put(digest, refusal, until, keys, table)

    def _note(self, issuer: str, claims: Mapping[str, Any], caller: Caller) -> None:
        paths = self._paths[issuer]
        if paths.missed:
            paths.note(claims, scoped=not caller.scopes.isdisjoint(self._declared))

    def _opaque_tokens(
        self, issuers: Iterable[IssuerSettings], ring: IssuerRegistry, clock: Callable[[], float]
    ) -> OpaqueTokens | None:
        """Return the cache for opaque tokens of the one issuer with introspection."""
        for issuer in issuers:
            endpoint = ring.endpoint(issuer)
            if issuer.introspection is not None and endpoint is not None:
                return OpaqueTokens(
                    self._resource,
                    issuer,
                    issuer.introspection,
                    endpoint,
                    monotonic=ring.monotonic,
                    clock=clock,
                    evicted=partial(ring.evicted, "introspection"),
                    declared=self._declared,
                    accepted=partial(self._note, issuer.id),
                )
        return None


def token_digest(token: str) -> bytes:
    """Return the digest by which a token is remembered."""
    # Header bytes that are no UTF-8 arrive as lone surrogates, which UTF-8 cannot encode.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
