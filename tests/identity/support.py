"""Shared parts of the tests of gate 2: a configured issuer, and clocks that stand still."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sidecar.config.settings.settings import IssuerSettings
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.authenticator import Authenticator
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.opaque.introspection_endpoint import IntrospectionEndpoint
from sidecar.identity.opaque.opaque_tokens import OpaqueTokens
from sidecar.model import Caller
from tests.support.introspection import Introspection
from tests.support.issuer import RESOURCE, Issuer

NOW = 1_800_000_000


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def configured(issuer: Issuer, **keys: Any) -> IssuerSettings:
    """The issuer as the config has it."""
    return IssuerSettings.model_validate({"issuer": issuer.url, **keys})


@contextmanager
def refused(code: ErrorCode, phrase: str = "") -> Iterator[pytest.ExceptionInfo[Refusal]]:
    """Assert that a block refuses with this code, and with this phrase in what the caller reads."""
    with pytest.raises(Refusal) as info:
        yield info
    assert info.value.code is code, info.value.log
    assert phrase in info.value.detail


# --- opaque tokens -------------------------------------------------------------------------------


class Gates:
    """Makes gate 2 for a config with `introspection`; `issuer` are further settings of the issuer."""

    def __init__(self, issuer: Issuer, endpoint: Introspection, ring: IssuerRegistry, clock: Clock) -> None:
        self._issuer = issuer
        self._endpoint = endpoint
        self._ring = ring
        self._clock = clock

    def settings(self, issuer: dict[str, Any] | None = None, **changes: Any) -> IssuerSettings:
        return configured(self._issuer, introspection={**self._endpoint.settings, **changes}, **(issuer or {}))

    def __call__(self, issuer: dict[str, Any] | None = None, **changes: Any) -> Authenticator:
        return Authenticator(RESOURCE, [self.settings(issuer, **changes)], self._ring, clock=self._clock)


async def enter(gate: Authenticator, token: str) -> Caller:
    return await gate.authenticate([f"Bearer {token}"])


async def code(gate: Authenticator, token: str) -> ErrorCode | None:
    """Return the code with which a token is refused; None if it is accepted."""
    try:
        await enter(gate, token)
    except Refusal as refusal:
        return refusal.code
    return None


def made_up(count: int) -> list[str]:
    return [secrets.token_urlsafe(24) for _ in range(count)]


def tokens_of(
    settings: IssuerSettings, asked: IntrospectionEndpoint | None, clock: Clock, capacity: int = 100
) -> OpaqueTokens:
    """The part of gate 2 that is about opaque tokens."""
    introspection = settings.introspection
    assert introspection is not None
    assert asked is not None
    return OpaqueTokens(RESOURCE, settings, introspection, asked, monotonic=clock, clock=clock, capacity=capacity)


async def ask(tokens: OpaqueTokens, token: str) -> Caller:
    return await tokens.caller(token, hashlib.sha256(token.encode()).digest())


async def verdict(tokens: OpaqueTokens, token: str) -> ErrorCode | None:
    """Return the code with which a token is refused; None if it is accepted."""
    try:
        await ask(tokens, token)
    except Refusal as refusal:
        return refusal.code
    return None
