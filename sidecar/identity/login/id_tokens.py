"""Rules for an ID token (OpenID Connect Core 1.0 section 3.1.3.7), except for its signature. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Final

from sidecar.config.settings.settings import IssuerSettings
from sidecar.identity.claims import check_times, media_type, time_of
from sidecar.identity.invalid_token import found_in, invalid
from sidecar.identity.jwt.jwt_claims import Token, check_algorithm
from sidecar.identity.token_kind import UNTYPED

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "typ": ("id", "id_token", UNTYPED),
    "token_use": ("id", "id_token"),
    "token_type": ("id", "id_token"),
}
"""Claims that name the kind of a token, and the values of an ID token."""


def check_id_token(token: Token, issuer: IssuerSettings, client_id: str, nonce: str, now: float) -> None:
    """Refuse a token that is not the ID token of one login.

    Args:
        token: its signature is verified later.
        issuer: the settings for its `iss`.
        client_id: the client that has asked for the login.
        nonce: of the authorization request.
        now: seconds since the epoch.

    Raises:
        Refusal: `token_invalid`.
    """
    claims = token.claims
    check_algorithm(token, issuer)
    if token.typ != UNTYPED:
        raise invalid("its typ is not that of an ID token", check="typ", found=token.typ, accepted=[UNTYPED])
    for name, accepted in KINDS.items():
        value = claims.get(name)
        if name in claims and not (isinstance(value, str) and media_type(value) in accepted):
            raise invalid(f"its {name} is not that of an ID token", check="kind", found=found_in(claims, name))
    if "events" in claims:  # OpenID Connect Back-Channel Logout 1.0 section 2.4
        raise invalid("it has events, so it is a logout token", check="kind")
    _check_client(claims, client_id)
    for name in ("exp", "iat"):
        time_of(claims, name)
    check_times(claims, issuer.leeway, now)
    sent = claims.get("nonce")
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), nonce.encode()):
        raise invalid("its nonce is not that of this login", check="nonce")


def _check_client(claims: Mapping[str, Any], client_id: str) -> None:
    """Refuse a token for another client, or for several of which this one has not asked for it."""
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if client_id not in named:
        raise invalid("its aud is not the page's client", check="aud", found=audience, accepted=[client_id])
    party = claims.get("azp", client_id if len(named) == 1 else None)
    if party != client_id:
        raise invalid("its azp is not the page's client", check="azp", found=party, accepted=[client_id])
