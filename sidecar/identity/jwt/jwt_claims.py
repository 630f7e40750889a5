"""Claims of a JWT access token: read as RFC 7515 and RFC 7519 let an issuer write them, then checked.

`key_set` verifies signatures. Everything else is checked here. The order protects a sidecar without keys: faults that
do not depend on the signature are found before keys are fetched. Nothing that a token names is fetched, and a key that
it brings is ignored. Pure functions; the current time is an argument.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final

from sidecar.config.settings.settings import IssuerSettings
from sidecar.errors import Refusal
from sidecar.identity import issuer_json
from sidecar.identity.audience import check_audience
from sidecar.identity.claims import MAX_TOKEN, caller_of, check_times, media_type, plain_times, time_of
from sidecar.identity.invalid_token import found_in, invalid
from sidecar.identity.jwt.key_set import ASYMMETRIC, SignedText, decoded
from sidecar.identity.token_kind import ACCESS_TYPES, UNTYPED, check_kind, check_unbound
from sidecar.model import Caller
from sidecar.vocabulary import record

_USUAL_HEADER: Final = 512
"""Characters of a header that may be remembered."""
# Claims that a header may repeat; then both must be equal (RFC 7519 section 5.3).
_REPLICATED: Final = ("iss", "sub", "aud")


@record
class Token:
    """A parsed token. Until its signature is verified, none of its claims are trusted.

    Attributes:
        signed: what its signature is of, and the signature.
        typ: the media type in its header; `jwt` without one.
    """

    signed: SignedText
    algorithm: str
    kid: str | None
    typ: str
    claims: Mapping[str, Any]

    def __repr__(self) -> str:
        # Neither a log line nor a traceback may contain a token.
        return "Token(...)"


# --- from the header to a token ------------------------------------------------------------------


def is_jwt(token: str) -> bool:
    """Return whether a token has the three parts of a compact JWS (RFC 7515 section 7.1), well-formed or not.

    Deliberately broad: a signed token, however it is spelled, must never be sent to a server other than its own issuer.
    """
    return token.count(".") == 2


def read(token: str) -> Token:
    """Parse a compact JWS (RFC 7515 section 7.1) with a JSON object as payload (RFC 7519 section 7.2).

    Raises:
        Refusal: `token_invalid`.
    """
    first, second, third = _segments(token)
    header = _usual_header(first) if len(first) <= _USUAL_HEADER else None
    unusual = _filled(decoded(first), "header") if header is None else b""
    payload, signature = decoded(second), decoded(third)
    if not payload or not signature:
        _filled(payload, "payload")
        _filled(signature, "signature")
    parameters = _object(unusual, "header") if header is None else None
    claims = _object(payload or b"", "payload")
    if header is None:
        header = _judged_header(parameters or {}, claims)
    elif header.replicated:
        _check_replicated(header.replicated, claims)
    signed = SignedText(token[: -len(third) - 1].encode(), signature)
    return Token(signed, header.algorithm, header.kid, header.typ, claims)


def _segments(token: str) -> list[str]:
    """Return the three parts of a compact JWS."""
    if len(token) > MAX_TOKEN:
        raise invalid(f"it has more than {MAX_TOKEN} characters", found=len(token))
    dots = token.count(".")
    if dots == 4:  # RFC 7516 section 7.1
        raise invalid("it is encrypted; the issuer must issue signed JWTs for this resource", found="5 parts")
    if dots != 2:
        raise invalid("it is not a signed JWT", found=f"{dots + 1} parts", accepted=["3 parts"])
    return token.split(".")


@record
class _Header:
    """Checked header of a token.

    Attributes:
        algorithm: as in `Token`, like the next two.
        replicated: the claims that it repeats.
    """

    algorithm: str
    kid: str | None
    typ: str
    replicated: Mapping[str, Any]


@lru_cache(64)  # an issuer's tokens have the same few headers
def _usual_header(segment: str) -> _Header | None:
    """Return the header; None for one that is malformed or refused, which the complete reading explains."""
    try:
        header = issuer_json.parse_object(decoded(segment) or b"")
        return _judged_header(header, header)
    except (issuer_json.IssuerJsonError, Refusal):
        return None


def _judged_header(header: Mapping[str, Any], claims: Mapping[str, Any]) -> _Header:
    _check_header(header)
    replicated = {name: header[name] for name in _REPLICATED if name in header}
    _check_replicated(replicated, claims)
    algorithm, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", UNTYPED)
    if not isinstance(algorithm, str):
        raise invalid("its header has no alg", check="alg", found=found_in(header, "alg"))
    if "kid" in header and not isinstance(kid, str):
        raise invalid("its kid is not a text", check="kid", found=found_in(header, "kid"))
    if not isinstance(typ, str):
        raise invalid("its typ is not a text", check="typ", found=found_in(header, "typ"))
    return _Header(algorithm, kid, media_type(typ), replicated)


def _check_replicated(replicated: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    for name, value in replicated.items():
        if value != claims.get(name):
            raise invalid(
                f"its header and its claims have another {name}", check=name, found=found_in(replicated, name)
            )


def _filled(data: bytes | None, part: str) -> bytes:
    if not data:
        raise invalid(f"its {part} is empty or not base64url (RFC 7515 section 2)")
    return data


def _object(data: bytes, part: str) -> dict[str, Any]:
    try:
        return issuer_json.parse_object(data)
    except issuer_json.IssuerJsonError as error:
        raise invalid(f"its {part} {error}") from None


def _check_header(header: Mapping[str, Any]) -> None:
    """Refuse parameters that must be understood and are not; all others are ignored (RFC 7515 section 4)."""
    if "crit" in header:
        wrong = "its header has crit, and no critical extension is supported"
        raise invalid(wrong, check="crit", found=found_in(header, "crit"), accepted=["no crit"])
    if header.get("b64", True) is not True:  # RFC 7797 section 7
        raise invalid(
            "its payload is not base64url by its header", check="b64", found=found_in(header, "b64"), accepted=[True]
        )
    if "enc" in header:  # RFC 7516 section 9: this distinguishes an encrypted token
        raise invalid(
            "its header is that of an encrypted token", check="enc", found=found_in(header, "enc"), accepted=["no enc"]
        )


# --- checks against the config -------------------------------------------------------------------


def check(token: Token, issuer: IssuerSettings, resource: str, now: float) -> None:
    """Refuse faults that no signature can repair: in algorithm, issuer, kind, audience and times.

    Args:
        token: unverified.
        issuer: the issuer that the token's `iss` names.
        resource: the audience, unless the issuer has its own.
        now: seconds since the epoch.

    Raises:
        Refusal: `token_invalid`.
    """
    claims = token.claims
    check_algorithm(token, issuer)
    if claims.get("iss") != issuer.issuer:
        raise invalid(
            "its iss is not the expected issuer",
            check="iss",
            found=found_in(claims, "iss"),
            accepted=[issuer.issuer],
        )
    check_unbound(claims)
    check_kind(token.typ, claims, issuer)
    check_audience(claims, issuer, resource)
    check_subject(token, issuer)
    times = plain_times(claims)  # has all that may be required
    if times is None:
        for name in required_times(token):
            time_of(claims, name)
    check_times(claims, issuer.leeway, now, times)


def check_algorithm(token: Token, issuer: IssuerSettings) -> None:
    """Refuse a token with another algorithm than the issuer's (RFC 8725 section 3.1).

    Raises:
        Refusal: `token_invalid`.
    """
    if token.algorithm not in issuer.algorithms or token.algorithm not in ASYMMETRIC:
        raise invalid(
            "its algorithm is not accepted", check="alg", found=token.algorithm, accepted=sorted(issuer.algorithms)
        )


def check_subject(token: Token, issuer: IssuerSettings) -> None:
    """Refuse an RFC 9068 token without `sub` (section 2.2), unless another claim names its account.

    Raises:
        Refusal: `token_invalid`.
    """
    if token.typ in ACCESS_TYPES and "sub" not in token.claims and issuer.claims.account == "sub":
        raise invalid("its sub is missing", check="sub", accepted=["sub, which at+jwt requires"])


def required_times(token: Token) -> tuple[str, ...]:
    """Return the times that a token must have.

    RFC 7519 lets all be absent. A token that never ends could not be withdrawn; RFC 9068 requires `iat` and `exp`.
    """
    return ("iat", "exp") if token.typ in ACCESS_TYPES else ("exp",)


def issuer_of(token: Token) -> str:
    """Return the issuer that the token names, compared exactly (RFC 9207 section 2.4, RFC 3986 section 6.2.1).

    Raises:
        Refusal: `token_invalid` when it names none.
    """
    issuer = token.claims.get("iss")
    if not isinstance(issuer, str):
        raise invalid("it names no issuer", check="iss", found=found_in(token.claims, "iss"))
    return issuer


def caller(token: Token, issuer: IssuerSettings, now: float, declared: Collection[str] = ()) -> Caller:
    """Return the caller of a token that has passed `check` and has a verified signature.

    Args:
        token: checked.
        issuer: its issuer.
        now: seconds since the epoch; it replaces a missing `iat`, so that a token got after a challenge is newer.
        declared: the scopes that the policy declares.

    Raises:
        Refusal: `token_invalid` when a required claim is missing or malformed.
    """
    claims = token.claims
    times = plain_times(claims)
    if times is not None:
        return caller_of(claims, issuer, times[0], times[2], declared)
    expires = time_of(claims, "exp")
    issued = time_of(claims, "iat") if "iat" in claims else min(now, expires)
    return caller_of(claims, issuer, issued, expires, declared)
