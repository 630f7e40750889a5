"""Audience of an access token: the resource that it was issued for (RFC 8707, RFC 9068 section 4).

An issuer that cannot bind its tokens leaves `aud` out or sets a constant. Its tokens are accepted only from clients
that the config names, and only with this very `aud`: one that names anything else belongs to another resource. Pure
functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from sidecar.config.settings.settings import IssuerSettings
from sidecar.config.settings.token_settings import ClientAudience
from sidecar.identity.invalid_token import invalid
from sidecar.identity.parties.party_names import client_of

_ABSENT: Final = "no aud"


def check_audience(claims: Mapping[str, Any], issuer: IssuerSettings, resource: str) -> None:
    """Refuse a token that was issued for another resource, or for none.

    Args:
        claims: its claims.
        issuer: the issuer of the token.
        resource: the audience, unless the issuer has its own.

    Raises:
        Refusal: `token_invalid`, with the values found and accepted.
    """
    audience = issuer.audience
    if audience is not None and not isinstance(audience, tuple):
        _check_client(claims, issuer, audience)
        return
    accepted = audience or (resource,)
    named = _named(claims, accepted)
    if not _spellings(accepted).intersection(named):
        raise invalid("it was issued for another resource", check="aud", found=claims["aud"], accepted=accepted)


def _check_client(claims: Mapping[str, Any], issuer: IssuerSettings, audience: ClientAudience) -> None:
    client = client_of(claims, issuer)
    if not isinstance(client, str) or client not in audience.client_ids:
        raise invalid(
            "its client is not one of those whose tokens are accepted without a resource in aud",
            check="client_id",
            found=_ABSENT.replace("aud", "client id") if client is None else client,
            accepted=audience.client_ids,
        )
    if audience.aud == "absent":
        if claims.get("aud") is not None:
            raise invalid("it was issued for another resource", check="aud", found=claims["aud"], accepted=(_ABSENT,))
        return
    if not set(_named(claims, audience.aud)).issubset(audience.aud):
        raise invalid("it was issued for another resource", check="aud", found=claims["aud"], accepted=audience.aud)


def _named(claims: Mapping[str, Any], accepted: Iterable[str]) -> list[str]:
    """Return the values of `aud`, text or a list of texts (RFC 7519 section 4.1.3), of which there is at least one."""
    named = claims.get("aud")
    if isinstance(named, str):
        return [named]
    if not isinstance(named, list) or not named or not all(isinstance(one, str) for one in named):
        found = _ABSENT if named is None else named
        raise invalid("its aud is missing or malformed", check="aud", found=found, accepted=accepted)
    return named


@lru_cache(64)  # of the config
def _spellings(accepted: tuple[str, ...]) -> frozenset[str]:
    """Return the accepted audiences with and without the slash that some clients append to a bare host."""
    spellings = set(accepted)
    for one in accepted:
        scheme, separator, rest = one.partition("://")
        host = rest.removesuffix("/")
        if separator and "/" not in host and "?" not in host:
            spellings |= {f"{scheme}://{host}", f"{scheme}://{host}/"}
    return frozenset(spellings)
