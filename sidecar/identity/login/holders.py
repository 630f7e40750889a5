"""Holder of an account, from the code of a login: exchange, verification, and the names of account and subject."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.config.settings.settings import Claims, IssuerSettings
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.claim_path import value_at
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.jwt.jwt_claims import Token, issuer_of, read
from sidecar.identity.login.id_tokens import check_id_token
from sidecar.identity.login.login_endpoints import LoginEndpoints, LoginError, LoginFault, LoginMetadata
from sidecar.identity.parties.party_names import CLIENT_PREFIX, party_names
from sidecar.identity.parties.tenants import TrustedIssuers

_NAMES: Final = ("name", "preferred_username", "email")
_MAX_NAME: Final = 128


@dataclass(frozen=True, slots=True)
class Holder:
    """Person that has logged in.

    Attributes:
        issuer_id: id of the issuer.
        account: the account that pays for the person's calls.
        subject: the person in consents.
        name: for the person's own eyes; empty when the issuer says none.
    """

    issuer_id: str
    account: str
    subject: str
    name: str


@dataclass(frozen=True, slots=True)
class CodeExchange:
    """Values that turn a code into tokens.

    Attributes:
        code: from the callback.
        verifier: of PKCE (RFC 7636).
        nonce: of the authorization request.
        redirect_uri: of the authorization request.
        client_id: the page's client.
        secret: of the client; None for a public one.
    """

    code: str
    verifier: str
    nonce: str
    redirect_uri: str
    client_id: str
    secret: str | None

    def __repr__(self) -> str:
        return "CodeExchange(...)"


class LoginIssuer:
    """Issuer that people log in at.

    Args:
        issuer: its settings.
        registry: its keys, and the way to it.
        clock: seconds since the epoch.
    """

    def __init__(
        self, issuer: IssuerSettings, registry: IssuerRegistry, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = issuer
        self._registry = registry
        self._clock = clock
        self._trusted = TrustedIssuers((issuer,))
        client = registry.client(issuer)
        self._endpoints = LoginEndpoints(client, registry.source(issuer, client), registry.monotonic)

    async def metadata(self) -> LoginMetadata:
        """Return the issuer's endpoints; see `LoginEndpoints.metadata`."""
        return await self._endpoints.metadata()

    def check_response_issuer(self, iss: str | None, required: bool) -> None:
        """Refuse an authorization response of another issuer (RFC 9207 section 2.4).

        Args:
            iss: parameter of the response; None without it.
            required: True when this issuer always sends it.

        Raises:
            LoginError: it is another one's, or missing.
        """
        if iss is None:
            if required:
                raise LoginError(LoginFault.TOKEN, "the authorization response has no iss")
            return
        try:
            self._trusted.of(iss)
        except Refusal:
            raise LoginError(LoginFault.TOKEN, "the authorization response is that of another issuer") from None

    async def holder(self, exchange: CodeExchange) -> Holder:
        """Exchange the code, verify the ID token, and return its person.

        Raises:
            LoginError: the login has failed.
        """
        form = {
            "code": exchange.code,
            "redirect_uri": exchange.redirect_uri,
            "code_verifier": exchange.verifier,
            "client_id": exchange.client_id,
        }
        tokens = await self._endpoints.redeem(form, exchange.secret)
        try:
            token, settings = await self._verified(tokens, exchange)
        except Refusal as refusal:
            fault = LoginFault.ISSUER if refusal.code is ErrorCode.ISSUER_UNAVAILABLE else LoginFault.TOKEN
            raise LoginError(fault, f"the ID token: {refusal.log or refusal.code.id}") from None
        claims = await self._with_account(token.claims, settings, tokens)
        return _holder(claims, settings, exchange.client_id)

    async def _verified(self, tokens: Mapping[str, Any], exchange: CodeExchange) -> tuple[Token, IssuerSettings]:
        compact = tokens.get("id_token")
        if not isinstance(compact, str):
            raise LoginError(LoginFault.TOKEN, "the token endpoint has sent no ID token: is openid among the scopes?")
        token = read(compact)
        settings, configured = self._trusted.of(issuer_of(token))
        check_id_token(token, settings, exchange.client_id, exchange.nonce, self._clock())
        keys = self._registry.key_sets(self.settings)
        table = keys.get(settings.issuer) or keys[configured.issuer]
        await table.verify(token, int(token.claims["iat"]), settings.leeway)
        return token, settings

    async def _with_account(
        self, claims: Mapping[str, Any], settings: IssuerSettings, tokens: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return claims with that of the account: those of the ID token, else those of userinfo."""
        path, access = settings.claims.account, tokens.get("access_token")
        if value_at(claims, path) is not None or not isinstance(access, str):
            return claims
        more = await self._endpoints.userinfo(access)
        if not more or more.get("sub") != claims.get("sub"):  # OpenID Connect Core 1.0 section 5.3.2
            return claims
        return {**more, **claims} if value_at({**more, **claims}, path) is not None else claims


def _holder(claims: Mapping[str, Any], settings: IssuerSettings, client_id: str) -> Holder:
    if "sub" not in claims:
        raise LoginError(LoginFault.TOKEN, "the ID token: it has no sub")
    if value_at(claims, settings.claims.account) is None:
        problem = f"neither the ID token nor userinfo has the account claim {settings.claims.account}"
        raise LoginError(LoginFault.ACCOUNT, problem)
    # An ID token names its client in `aud`; the config's `claims.client_id` is for access tokens.
    named = settings.model_copy(update={"claims": Claims(account=settings.claims.account)})
    try:
        names = party_names({**claims, "client_id": client_id}, named)
    except Refusal as refusal:
        raise LoginError(LoginFault.TOKEN, f"the ID token: {refusal.log or refusal.code.id}") from None
    tenant = "" if settings.tenant is None else f"{settings.tenant}/"
    if names.subject.removeprefix(tenant).startswith(CLIENT_PREFIX):
        raise LoginError(LoginFault.TOKEN, "the ID token: it names no person")
    said = next((claims[name] for name in _NAMES if isinstance(claims.get(name), str)), "")
    return Holder(settings.id, names.account, names.subject, str(said)[:_MAX_NAME])
