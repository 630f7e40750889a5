"""What the claims of an access token must say, however they were come by, and the caller they make.

A JWT brings its claims along (`claims_jwt`); those of an opaque token come from its issuer
(`claims_introspected`). What is meant for another resource, out of its time, bound to a key or without a
name is refused alike. Pure functions; the caller's clock is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sidecar.config.settings import Issuer
from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Caller

MAX_TOKEN: Final = 16 * 1024
"""Characters of a token; more than a header may have by default."""
MAX_NAME: Final = 255
"""Characters of a subject or an account."""
MAX_CLIENT_ID: Final = 2048
"""Characters of a client id, which may be a URL (client id metadata documents)."""
MAX_LIFETIME: Final = 366 * 24 * 3600
"""Seconds between `iat` and `exp`; more is taken for a mistake in units."""
_MAX_TIME: Final = 2**40

# RFC 6750 section 2.1: `Bearer`, in any case (RFC 9110 section 11.1), one space, then the token.
_BEARER: Final = re.compile(r"bearer(?: (.*))?", re.IGNORECASE | re.DOTALL)
# RFC 6749 section 3.3: the characters of one scope.
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
# Claims that are looked for when the config names none, best first.
_ACCOUNT: Final = ("sub",)
_CLIENT_ID: Final = ("client_id", "azp")
_SCOPES: Final = ("scope", "scp")


def invalid(reason: str) -> Refusal:
    """The refusal `token_invalid`.

    Args:
        reason: half a sentence that holds nothing of the token, for its sender and the log.
    """
    return Refusal(ErrorCode.TOKEN_INVALID, f"The access token is not valid here: {reason}.", log=reason)


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


# --- what is configured --------------------------------------------------------------------------


def check_unbound(claims: Mapping[str, Any]) -> None:
    """Refuse a token that is bound to a key of the client (RFC 7800): as a bearer token it may be stolen.

    Raises:
        Refusal: `token_invalid`.
    """
    if "cnf" in claims:
        raise invalid("it is bound to a key and cannot be used as a bearer token")


def check_audience(claims: Mapping[str, Any], issuer: Issuer, resource: str) -> None:
    """Refuse a token that was not issued for this resource, or for nothing in particular (RFC 8707).

    Args:
        claims: its claims.
        issuer: where it is from.
        resource: the audience, unless the issuer has its own.

    Raises:
        Refusal: `token_invalid`.
    """
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not named or not all(isinstance(one, str) for one in named):
        raise invalid("its aud is missing or malformed")
    if not _spellings(texts(issuer.audience) or (resource,)).intersection(named):
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


def check_times(claims: Mapping[str, Any], leeway: float, now: float) -> None:
    """Refuse a token out of its time, by those of `iat`, `nbf` and `exp` that it has (RFC 7519 section 4.1).

    Args:
        claims: its claims; who needs one of the three asks for it with `time_of`.
        leeway: seconds by which the issuer's clock may differ.
        now: seconds since the epoch.

    Raises:
        Refusal: `token_invalid`.
    """
    issued, starts, expires = (time_of(claims, name) if name in claims else None for name in ("iat", "nbf", "exp"))
    if issued is not None and issued > now + leeway:
        raise invalid("it was issued in the future")
    if starts is not None and starts > now + leeway:
        raise invalid("it is not valid yet")
    if expires is None:
        return
    if not (0 if issued is None else issued) < expires <= (now if issued is None else issued) + MAX_LIFETIME:
        raise invalid("its lifetime is not plausible")
    if expired(expires, leeway, now):
        raise invalid("it has expired")


def expired(expires: int, leeway: float, now: float) -> bool:
    """Whether `exp` has passed (RFC 7519 section 4.1.4), all in seconds."""
    return now >= expires + leeway


def time_of(claims: Mapping[str, Any], name: str) -> int:
    """A claim that is a time, in seconds since the epoch.

    Raises:
        Refusal: `token_invalid` when it is missing or malformed.
    """
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_TIME:
        raise invalid(f"its {name} is missing or malformed")
    return value


# --- who it is -----------------------------------------------------------------------------------


def caller_of(claims: Mapping[str, Any], issuer: Issuer, subject: object, issued_at: int, expires_at: int) -> Caller:
    """Whom claims speak for, once they have been checked.

    Args:
        claims: what the token, or its issuer, says.
        issuer: where it is from; it may say which claims are meant.
        subject: the claim that names the subject.
        issued_at: seconds since the epoch.
        expires_at: seconds since the epoch.

    Raises:
        Refusal: `token_invalid` when a claim that is needed is missing or malformed.
    """
    return Caller(
        issuer_id=issuer.id,
        issuer=issuer.issuer,
        subject=_name(subject, "sub", MAX_NAME),
        account=_name(account_of(claims, issuer), "account claim", MAX_NAME),
        client_id=_name(_first(claims, issuer.claims.client_id, _CLIENT_ID), "client id", MAX_CLIENT_ID),
        scopes=_scopes(_first(claims, issuer.claims.scopes, _SCOPES)),
        issued_at=issued_at,
        expires_at=expires_at,
    )


def account_of(claims: Mapping[str, Any], issuer: Issuer) -> object:
    """The claim that names the account, unchecked; None without it."""
    return _first(claims, issuer.claims.account, _ACCOUNT)


def _first(claims: Mapping[str, Any], names: str | Sequence[str] | None, default: Sequence[str]) -> object:
    """The first of the claims that is present: a malformed one is not passed over for the next."""
    return next((claims[name] for name in texts(names) or default if name in claims), None)


def _name(value: object, what: str, limit: int) -> str:
    if not isinstance(value, str) or not value:
        raise invalid(f"its {what} is missing or malformed")
    if len(value) > limit:
        raise invalid(f"its {what} has more than {limit} characters")
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


def texts(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """One text, several or none, as several."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def media_type(typ: str) -> str:
    """A `typ` to compare: without case, and `application/` may be left out (RFC 7515 section 4.1.9)."""
    return typ.lower().removeprefix("application/")
