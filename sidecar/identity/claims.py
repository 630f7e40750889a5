"""Rules for the claims of an access token, and the caller that they make.

The claims of a JWT are in the token (`jwt_claims`); those of an opaque token come from its issuer
(`introspected_claims`). Both are refused when meant for another resource, outside their validity, bound to a key, or
without a name. Pure functions; the current time is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sidecar.config.settings.settings import IssuerSettings
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.invalid_token import found_in, invalid
from sidecar.identity.parties.party_names import party_names
from sidecar.identity.token_scopes import scopes_of
from sidecar.model import Caller

MAX_TOKEN: Final = 16 * 1024
"""Characters of a token; more than a header can hold by default."""
# Seconds since 1970; milliseconds of our time are more.
_MAX_TIME: Final = 2**40

# RFC 6750 section 2.1: `Bearer`, in any case (RFC 9110 section 11.1), one or more spaces, then the token.
_BEARER: Final = re.compile(r"bearer(?: +(.*))?", re.IGNORECASE | re.DOTALL)

_BLANK: Final = " \t"


def bearer(values: Sequence[str]) -> str:
    """Return the token in a request's `Authorization` headers.

    Tokens in the query or the body are ignored (MCP authorization, access token usage).

    Args:
        values: the value of every `Authorization` header.

    Raises:
        Refusal: `token_missing` when there is none, or credentials of another kind;
            `token_invalid` when there are several headers or the token is not one word.
    """
    if len(values) > 1:
        wrong = "there is more than one Authorization header"
        raise invalid(wrong, found=f"{len(values)} headers", accepted=["1 header"])
    value = values[0] if values else ""
    # Most clients write it like this; anything else is read by the complete rule.
    if value[:7] == "Bearer " and value[7:8] not in _BLANK and value[-1] not in _BLANK:
        return value[7:]
    match = _BEARER.fullmatch(value.strip(_BLANK)) if values else None
    if match is None or not match[1]:
        raise Refusal(ErrorCode.TOKEN_MISSING)
    return match[1]


def has_bearer(values: Sequence[str]) -> bool:
    """Return whether a request brings a token, well-formed or not; see `bearer`."""
    try:
        bearer(values)
    except Refusal as refusal:
        return refusal.code is not ErrorCode.TOKEN_MISSING
    return True


# --- checks against the config -------------------------------------------------------------------


def plain_times(claims: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Return `iat`, `nbf` and `exp` where all are whole seconds, as in most tokens; None for any others.

    A missing `nbf` is 0.
    """
    issued, starts, expires = claims.get("iat"), claims.get("nbf", 0), claims.get("exp")
    if (
        type(issued) is type(starts) is type(expires) is int
        and 0 <= issued <= _MAX_TIME
        and 0 <= starts <= _MAX_TIME
        and 0 <= expires <= _MAX_TIME
    ):
        return issued, starts, expires
    return None


def check_times(
    claims: Mapping[str, Any], leeway: float, now: float, plain: tuple[int, int, int] | None = None
) -> None:
    """Refuse a token outside its validity, by the `iat`, `nbf` and `exp` that are present (RFC 7519 section 4.1).

    No lifetime is too long: the issuer decides.

    Args:
        claims: the token's; `time_of` requires one of the three.
        leeway: seconds by which the issuer's clock may differ.
        now: seconds since the epoch.
        plain: the times, where `plain_times` has read them.

    Raises:
        Refusal: `token_invalid`.
    """
    issued, starts, expires = plain or _times(claims)
    latest = now + leeway
    if issued is not None and issued > latest:
        accepted = [f"at most {int(latest)}"]
        raise invalid("it was issued in the future", check="iat", found=issued, accepted=accepted)
    if starts is not None and starts > latest:
        raise invalid("it is not valid yet", check="nbf", found=starts, accepted=[f"at most {int(latest)}"])
    if expires is None:
        return
    if issued is not None and expires <= issued:
        raise invalid("its exp is not after its iat", check="exp", found=expires, accepted=[f"more than {issued}"])
    if expired(expires, leeway, now):
        raise invalid("it has expired", check="exp", found=expires, accepted=[f"more than {int(now - leeway)}"])


def _times(claims: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    issued = time_of(claims, "iat") if "iat" in claims else None
    starts = time_of(claims, "nbf") if "nbf" in claims else None
    expires = time_of(claims, "exp") if "exp" in claims else None
    return issued, starts, expires


def expired(expires: float, leeway: float, now: float) -> bool:
    """Return whether `exp` has passed (RFC 7519 section 4.1.4); all in seconds."""
    return now >= expires + leeway


def time_of(claims: Mapping[str, Any], name: str) -> float:
    """Return a claim that is a NumericDate: seconds since the epoch, possibly with a fraction (RFC 7519 section 2).

    Raises:
        Refusal: `token_invalid` when it is missing or malformed.
    """
    value = claims.get(name)
    if type(value) is int and 0 <= value <= _MAX_TIME:
        return value  # as almost all are
    if name not in claims:
        raise invalid(f"its {name} is missing", check=name, accepted=["seconds since 1970"])
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise invalid(
            f"its {name} is not a number", check=name, found=found_in(claims, name), accepted=["seconds since 1970"]
        )
    if not 0 <= value <= _MAX_TIME:
        raise invalid(
            f"its {name} is not in seconds since 1970", check=name, found=value, accepted=[f"0 to {_MAX_TIME}"]
        )
    return value


# --- the caller ----------------------------------------------------------------------------------


def caller_of(
    claims: Mapping[str, Any],
    issuer: IssuerSettings,
    issued_at: float,
    expires_at: float,
    declared: Collection[str] = (),
) -> Caller:
    """Return the caller of checked claims.

    Args:
        claims: from the token or from its issuer.
        issuer: the issuer of the token; its settings may name the claims to use.
        issued_at: seconds since the epoch.
        expires_at: seconds since the epoch.
        declared: the scopes that the policy declares.

    Raises:
        Refusal: `token_invalid` when a required claim is missing or malformed.
    """
    names = party_names(claims, issuer)
    subject, account, client_id = names.subject, names.account, names.client_id
    scopes = scopes_of(claims, issuer, client_id, declared)
    # Rounded down: a fraction of a second never lets a token live longer or look newer. By place: a call with named
    # arguments takes twice as long.
    return Caller(issuer.id, issuer.issuer, subject, account, client_id, scopes, int(issued_at), int(expires_at))


def texts(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return one text, several or none as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def media_type(typ: str) -> str:
    """Return a `typ` for comparison: in lower case, without the optional `application/` (RFC 7515 section 4.1.9)."""
    return typ.lower().removeprefix("application/")
