"""What an access token says: read strictly, held against what is configured, made into a caller.

PyJWT verifies signatures (`jwks`); everything else is checked here, because its own checks let
through tokens without `typ`, claims given twice, times in text, and blank subjects.
The order matters to a server without keys: whatever is wrong whoever signed it is found before
keys are asked for. Pure functions; the caller's clock is passed in.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sidecar.config.settings import Issuer
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.jwks import ASYMMETRIC
from sidecar.model import Caller
from sidecar.protocol import strictjson

MAX_TOKEN: Final = 16 * 1024
"""Characters of a token; more than a header may have by default."""
MAX_KID: Final = 128
MAX_NAME: Final = 255
"""Characters of a subject or an account."""
MAX_CLIENT_ID: Final = 2048
"""Characters of a client id, which may be a URL (client id metadata documents)."""
MAX_LIFETIME: Final = 366 * 24 * 3600
"""Seconds between `iat` and `exp`; more is taken for a mistake in units."""
_MAX_TIME: Final = 2**40

# RFC 6750 section 2.1: `Bearer`, in any case (RFC 9110 section 11.1), one space, then the token.
_BEARER: Final = re.compile(r"bearer(?: (.*))?", re.IGNORECASE | re.DOTALL)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+")
# RFC 6749 section 3.3: the characters of one scope.
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
# Header parameters that would change how the token is to be read, or bring a key of their own.
# None is supported, and ignoring `crit` is forbidden (RFC 7515 section 4.1.11).
_FOREIGN_PARAMETERS: Final = ("crit", "b64", "zip", "cty", "jku", "jwk", "x5u", "x5c", "enc")
_ACCESS_TOKEN: Final = "at+jwt"  # noqa: S105 - a media type, RFC 9068 section 2.1
# What a token without `typ` is taken for (RFC 7519 section 5.1).
_ANY_TOKEN: Final = "jwt"  # noqa: S105 - a media type
# Claims that are looked for when the config names none, best first.
_ACCOUNT: Final = ("sub",)
_CLIENT_ID: Final = ("client_id", "azp")
_SCOPES: Final = ("scope", "scp")
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


def invalid(reason: str) -> Refusal:
    """The refusal `token_invalid`.

    Args:
        reason: half a sentence that holds nothing of the token, for its sender and the log.
    """
    return Refusal(ErrorCode.TOKEN_INVALID, f"The access token is not valid here: {reason}.", log=reason)


# --- from the header to a token ------------------------------------------------------------------


def bearer(values: Sequence[str]) -> str:
    """The token in a request's `Authorization` headers.

    Tokens in the query or the body are never looked for (MCP authorization, access token usage).

    Args:
        values: the value of every `Authorization` header.

    Raises:
        Refusal: `token_missing` when there is none, or credentials of another kind;
            `token_invalid` when there are several headers or the token is not one word.
    """
    if not values:
        raise Refusal(ErrorCode.TOKEN_MISSING)
    if len(values) > 1:
        raise invalid("there is more than one Authorization header")
    match = _BEARER.fullmatch(values[0].strip(" \t"))
    if match is None or not match[1]:
        raise Refusal(ErrorCode.TOKEN_MISSING)
    return match[1]


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
    return Token(token, algorithm, kid, _media_type(typ), claims)


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


def _media_type(typ: str) -> str:
    """Media types compare without case, and `application/` may be left out (RFC 7515 section 4.1.9)."""
    return typ.lower().removeprefix("application/")


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
    _check_audience(token.claims.get("aud"), _texts(issuer.audience) or (resource,))
    _check_times(token.claims, issuer.leeway, now)


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
    accepted = {_media_type(typ) for typ in _texts(issuer.typ)} or {_ACCESS_TOKEN, _ANY_TOKEN}
    if token.typ not in accepted:
        raise invalid("its typ is not that of an access token")
    # Without RFC 9068's typ, an ID token for the same audience looks alike but for these claims.
    if token.typ != _ACCESS_TOKEN and any(name in token.claims for name in _ID_TOKEN_CLAIMS):
        raise invalid("it is an ID token")
    # Bound to a key of the client (RFC 7800): as a plain bearer token it may be stolen.
    if "cnf" in token.claims:
        raise invalid("it is bound to a key and cannot be used as a bearer token")


def _check_audience(audience: object, accepted: Iterable[str]) -> None:
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not named or not all(isinstance(one, str) for one in named):
        raise invalid("its aud is missing or malformed")
    if not _spellings(accepted).intersection(named):
        raise invalid("it was issued for another resource")


def _spellings(accepted: Iterable[str]) -> set[str]:
    """With and without the slash that some clients put behind a bare host; nothing else is alike."""
    spellings = set(accepted)
    for one in accepted:
        scheme, separator, rest = one.partition("://")
        host = rest.removesuffix("/")
        if separator and "/" not in host and "?" not in host:
            spellings |= {f"{scheme}://{host}", f"{scheme}://{host}/"}
    return spellings


def _check_times(claims: Mapping[str, Any], leeway: float, now: float) -> None:
    issued, expires = _time(claims, "iat"), _time(claims, "exp")
    if issued > now + leeway:
        raise invalid("it was issued in the future")
    if "nbf" in claims and _time(claims, "nbf") > now + leeway:
        raise invalid("it is not valid yet")
    if not 0 < expires - issued <= MAX_LIFETIME:
        raise invalid("its lifetime is not plausible")
    if expired(expires, leeway, now):
        raise invalid("it has expired")


def expired(expires: int, leeway: float, now: float) -> bool:
    """Whether `exp` has passed (RFC 7519 section 4.1.4), all in seconds."""
    return now >= expires + leeway


def _time(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_TIME:
        raise invalid(f"its {name} is missing or malformed")
    return value


# --- who it is -----------------------------------------------------------------------------------


def caller(token: Token, issuer: Issuer) -> Caller:
    """Whom a token speaks for, once `check` and its signature are fine.

    Raises:
        Refusal: `token_invalid` when a claim that is needed is missing or malformed.
    """
    claims = token.claims
    return Caller(
        issuer_id=issuer.id,
        issuer=issuer.issuer,
        subject=_name(claims.get("sub"), "sub", MAX_NAME),
        account=_name(_first(claims, issuer.claims.account, _ACCOUNT), "account claim", MAX_NAME),
        client_id=_name(_first(claims, issuer.claims.client_id, _CLIENT_ID), "client id", MAX_CLIENT_ID),
        scopes=_scopes(_first(claims, issuer.claims.scopes, _SCOPES)),
        issued_at=_time(claims, "iat"),
        expires_at=_time(claims, "exp"),
    )


def _first(claims: Mapping[str, Any], names: str | Sequence[str] | None, default: Sequence[str]) -> object:
    """The first of the claims that is present: a malformed one is not passed over for the next."""
    return next((claims[name] for name in _texts(names) or default if name in claims), None)


def _name(value: object, what: str, limit: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise invalid(f"its {what} is missing or malformed")
    # Control and invisible characters, and blanks around it, would make two names look like one.
    if not value.isprintable() or value != value.strip():
        raise invalid(f"its {what} is missing or malformed")
    return value


def _scopes(value: object) -> frozenset[str]:
    """RFC 6749 section 3.3: words separated by spaces; several issuers send a list of words instead."""
    if value is None:
        return frozenset()
    words = [word for word in value.split(" ") if word] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) and _SCOPE.fullmatch(word) for word in words):
        raise invalid("its scope is malformed")
    return frozenset(words)


def _texts(value: str | Sequence[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
