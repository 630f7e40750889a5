"""What a JWT access token says: read strictly, held against what is configured, made into a caller.

PyJWT verifies signatures (`jwks`); everything else is checked here, because its own checks let
through tokens without `typ`, claims given twice, times in text, and blank subjects.
The order matters to a server without keys: whatever is wrong whoever signed it is found before
keys are asked for. Pure functions; the caller's clock is passed in.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.config.settings import Issuer
from sidecar.identity.claims import (
    MAX_TOKEN,
    caller_of,
    check_audience,
    check_times,
    check_unbound,
    invalid,
    media_type,
    texts,
    time_of,
)
from sidecar.identity.jwks import ASYMMETRIC
from sidecar.model import Caller
from sidecar.protocol import strictjson

MAX_KID: Final = 128

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+")
# Header parameters that would change how the token is to be read, or bring a key of their own.
# None is supported, and ignoring `crit` is forbidden (RFC 7515 section 4.1.11).
_FOREIGN_PARAMETERS: Final = ("crit", "b64", "zip", "cty", "jku", "jwk", "x5u", "x5c", "enc")
_ACCESS_TOKEN: Final = "at+jwt"  # noqa: S105 - a media type, RFC 9068 section 2.1
# What a token without `typ` is taken for (RFC 7519 section 5.1).
_ANY_TOKEN: Final = "jwt"  # noqa: S105 - a media type
# Claims that only ID tokens have (OpenID Connect Core 1.0 sections 2 and 3.3.2.11).
_ID_TOKEN_CLAIMS: Final = ("nonce", "at_hash", "c_hash")


@dataclass(frozen=True, slots=True)
class Token:
    """A token taken apart. Until its signature is verified, nothing it says is true."""

    compact: str
    algorithm: str
    kid: str | None
    typ: str
    claims: Mapping[str, Any]

    def __repr__(self) -> str:
        # Neither a log line nor a traceback may hold a token.
        return "Token(...)"


# --- from the header to a token ------------------------------------------------------------------


def is_jwt(token: str) -> bool:
    """Whether a token has the three parts of a compact JWS (RFC 7515 section 7.1), well-formed or not.

    Generous, because of what depends on it: a signed token of anybody's is never shown to a server that
    only its own issuer may see, however it is spelled.
    """
    return token.count(".") == 2


def read(token: str) -> Token:
    """Take a compact JWS apart, strictly: two readers must not see two tokens.

    Raises:
        Refusal: `token_invalid`.
    """
    segments = token.split(".")
    if len(token) > MAX_TOKEN or len(segments) != 3 or not all(map(_SEGMENT.fullmatch, segments)):
        raise invalid("it is not a signed JWT")
    header, claims = _object(segments[0]), _object(segments[1])
    for name in _FOREIGN_PARAMETERS:
        if name in header:
            raise invalid(f"its header has {name}")
    algorithm, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", _ANY_TOKEN)
    if not isinstance(algorithm, str):
        raise invalid("its header has no alg")
    if "kid" in header and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        raise invalid("its kid is malformed")
    if not isinstance(typ, str):
        raise invalid("its typ is malformed")
    return Token(token, algorithm, kid, media_type(typ), claims)


def _object(segment: str) -> dict[str, Any]:
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        value = strictjson.parse(data).plain
    except ValueError:
        value = None
    # Left-over bits that are not zero would give one token many spellings.
    if not isinstance(value, dict) or base64.urlsafe_b64encode(data).rstrip(b"=") != segment.encode():
        raise invalid("it is not a well-formed JWT")
    return value


# --- what is configured --------------------------------------------------------------------------


def check(token: Token, issuer: Issuer, resource: str, now: float) -> None:
    """Refuse what no signature could make good: algorithm, kind, issuer, audience and times.

    Args:
        token: not yet verified.
        issuer: the one that the token's `iss` names.
        resource: the audience, unless the issuer has its own.
        now: seconds since the epoch.

    Raises:
        Refusal: `token_invalid`.
    """
    if token.algorithm not in issuer.algorithms or token.algorithm not in ASYMMETRIC:
        raise invalid("its algorithm is not accepted")
    if token.claims.get("iss") != issuer.issuer:
        raise invalid("it is not from the issuer it is held against")
    _check_kind(token, issuer)
    check_audience(token.claims, issuer, resource)
    for name in ("iat", "exp"):
        time_of(token.claims, name)
    check_times(token.claims, issuer.leeway, now)


def issuer_of(token: Token) -> str:
    """The issuer the token names, compared exactly (RFC 9207 section 2.4, RFC 3986 section 6.2.1).

    Raises:
        Refusal: `token_invalid` when it names none.
    """
    issuer = token.claims.get("iss")
    if not isinstance(issuer, str):
        raise invalid("it names no issuer")
    return issuer


def _check_kind(token: Token, issuer: Issuer) -> None:
    accepted = {media_type(typ) for typ in texts(issuer.typ)} or {_ACCESS_TOKEN, _ANY_TOKEN}
    if token.typ not in accepted:
        raise invalid("its typ is not that of an access token")
    # Without RFC 9068's typ, an ID token for the same audience looks alike but for these claims.
    if token.typ != _ACCESS_TOKEN and any(name in token.claims for name in _ID_TOKEN_CLAIMS):
        raise invalid("it is an ID token")
    check_unbound(token.claims)


def caller(token: Token, issuer: Issuer) -> Caller:
    """Whom a token speaks for, once `check` and its signature are fine.

    Raises:
        Refusal: `token_invalid` when a claim that is needed is missing or malformed.
    """
    claims = token.claims
    return caller_of(claims, issuer, claims.get("sub"), time_of(claims, "iat"), time_of(claims, "exp"))
