"""Kind of a token, by evidence: an access token for bearers, or something else that the same issuer writes. Pure.

One issuer signs ID tokens, refresh tokens, logout tokens and more with the same keys. A token that says that it is
something else is refused. An access token says so, or has what no ID token has. The claims of a JWT and the answer
about an opaque token follow the same tables; docs/tokens.md prints them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sidecar.config.settings.settings import IssuerSettings
from sidecar.config.settings.token_settings import ClientAudience
from sidecar.identity.claims import media_type, texts
from sidecar.identity.invalid_token import found_in, invalid
from sidecar.identity.parties.party_names import client_of

UNTYPED: Final = "jwt"
"""The type of a JWT without `typ` (RFC 7519 section 5.1); it says nothing about the kind."""
ACCESS_TYPES: Final = ("at+jwt",)
"""Header `typ` of an access token (RFC 9068 section 2.1)."""
ACCESS_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "typ": ("bearer", "at+jwt", "access", "access_token"),
    "token_use": ("access", "access_token"),
    "token_type": ("bearer", "access", "access_token", "urn:ietf:params:oauth:token-type:access_token"),
}
"""Claims, or members of an answer, that name the kind, and the values of an access token."""
OTHER_MEMBERS: Final[Mapping[str, str]] = {
    "at_hash": "an ID token",  # OpenID Connect Core 1.0 section 3.1.3.6
    "c_hash": "an ID token",  # OpenID Connect Core 1.0 section 3.3.2.11
    "s_hash": "an ID token",  # Financial-grade API 1.0 part 2, section 5.1
    "granted_scopes": "a refresh token",  # Cloud Foundry's UAA, which SAP uses
    "events": "a logout or security event token",  # RFC 8417 section 2.2
    "htm": "a DPoP proof",  # RFC 9449 section 4.2
    "htu": "a DPoP proof",
    "token_introspection": "an introspection response",  # RFC 9701 section 5
}
"""Claims that no access token has."""
_OTHER_NAMES: Final = frozenset(OTHER_MEMBERS)
ACCESS_MEMBERS: Final = ("scope", "scp", "azpacr", "appidacr")
"""Claims that no ID token has, but for the list `["openid"]`; the last two are Entra ID's."""
BINDINGS: Final[Mapping[str, str]] = {
    "jkt": "DPoP (RFC 9449)",
    "x5t#S256": "a TLS client certificate (RFC 8705)",
}
"""Members of `cnf`, and the method that proves possession of the key."""

# Values that name another kind, whatever the config accepts; the noun is for the sentence.
_OTHER_VALUES: Final[Mapping[str, str]] = {
    "id": "an ID token",
    "id_token": "an ID token",
    "refresh": "a refresh token",
    "refresh_token": "a refresh token",
    "offline": "a refresh token",
    "logout": "a logout token",
    "logout+jwt": "a logout token",
    "secevent+jwt": "a security event token",
    "dpop": "a DPoP token",
    "dpop+jwt": "a DPoP proof",
    "token-introspection+jwt": "an introspection response",
}


def check_unbound(claims: Mapping[str, Any]) -> None:
    """Refuse a token that is bound to a client's key (RFC 7800): used as a bearer token, it may be stolen.

    Args:
        claims: of a JWT, or the issuer's answer.

    Raises:
        Refusal: `token_invalid`.
    """
    if "cnf" not in claims:
        return
    bound = claims["cnf"]
    names = sorted(bound) if isinstance(bound, dict) else []
    method = next((how for name, how in BINDINGS.items() if name in names), "proof of possession (RFC 7800)")
    raise invalid(
        f"it is bound to a key, to be proved by {method}, and cannot be used as a bearer token; "
        "the issuer must issue it without cnf",
        check="cnf",
        found=" ".join(names) or found_in(claims, "cnf"),
        accepted=["no cnf"],
    )


def check_kind(typ: str | None, claims: Mapping[str, Any], issuer: IssuerSettings) -> None:
    """Refuse a token that is not an access token.

    Args:
        typ: the media type in the header of a JWT; None for an opaque token.
        claims: of a JWT, or the issuer's answer about an opaque token.
        issuer: its issuer; `typ` in its settings replaces the accepted types of a header, or of an answer, and adds to
            the values of the claims.

    Raises:
        Refusal: `token_invalid`.
    """
    configured = () if issuer.typ is None else tuple([media_type(each) for each in texts(issuer.typ)])
    said = typ is not None and _access_type(typ, configured)
    for name, accepted in ACCESS_VALUES.items():
        if name in claims:
            replaced = name == "typ" and typ is None and bool(configured)
            said |= _access_value(name, claims, configured if replaced else (*accepted, *configured), replaced)
    for name, kind in () if _OTHER_NAMES.isdisjoint(claims) else OTHER_MEMBERS.items():
        if name in claims:
            raise invalid(
                f"it has {name}, so it is {kind} and not an access token",
                check="kind",
                found=name,
                accepted=[f"no {name}"],
            )
    if said or any(_is_sign(claims.get(name)) for name in ACCESS_MEMBERS):
        return
    _check_audience_is_no_client(claims, issuer)


def ambiguous_audiences(issuer: IssuerSettings) -> tuple[str, ...]:
    """Return the configured audiences that may be client ids, for which the kind of a token may be undecidable.

    A token for such an audience is refused when its own client is that audience and nothing says that it is an access
    token; an ID token for another client than its `azp` cannot be distinguished. With `typ` set, or an audience that is
    a URL, there is none.
    """
    if {media_type(each) for each in texts(issuer.typ)} - {UNTYPED}:
        return ()
    audience = issuer.audience
    if isinstance(audience, ClientAudience):
        return tuple(each for each in audience.client_ids if audience.aud != "absent" and each in audience.aud)
    return tuple(each for each in audience or () if ":" not in each)


def _access_type(typ: str, configured: tuple[str, ...]) -> bool:
    """Return whether the header's `typ` is that of access tokens; refuse other kinds."""
    accepted = configured or (*ACCESS_TYPES, UNTYPED)
    if typ not in accepted or typ in _OTHER_VALUES:
        says = f"; it is {_OTHER_VALUES[typ]}" if typ in _OTHER_VALUES else ""
        raise invalid(f"its typ is not that of an access token{says}", check="typ", found=typ, accepted=accepted)
    return typ != UNTYPED


def _access_value(name: str, claims: Mapping[str, Any], accepted: tuple[str, ...], exact: bool) -> bool:
    """Return whether a claim says that the token is an access token; refuse other kinds."""
    value = claims[name]
    said = media_type(value) if isinstance(value, str) else ""
    if said in accepted and said not in _OTHER_VALUES:
        return said != UNTYPED
    if said == UNTYPED and not exact:
        return False
    says = f"; it is {_OTHER_VALUES[said]}" if said in _OTHER_VALUES else ""
    raise invalid(
        f"its {name} is not that of a bearer access token{says}",
        check="kind",
        found=found_in(claims, name),
        accepted=accepted,
    )


def _is_sign(value: object) -> bool:
    """Return whether one of `ACCESS_MEMBERS` has a value that an ID token never has.

    ID tokens of Cloud Foundry's UAA, which SAP uses, have this list. As a text the same scope is a sign: access tokens
    of Authentik have it.
    """
    return value is not None and value != ["openid"]


def _check_audience_is_no_client(claims: Mapping[str, Any], issuer: IssuerSettings) -> None:
    """Refuse a token that may be an ID token: its `aud` has the client (OpenID Connect Core 1.0 section 2)."""
    audience, client = claims.get("aud"), client_of(claims, issuer)
    named = audience if isinstance(audience, list) else [audience]
    if isinstance(client, str) and client in named:
        raise invalid(
            "nothing says that it is an access token, and its aud has its own client, as in an ID token",
            check="kind",
            found=audience,
            accepted=["another aud", "typ at+jwt", *ACCESS_MEMBERS[:2]],
        )
