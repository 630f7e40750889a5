"""Claims of an opaque token from its issuer (RFC 7662 section 2.2): read, checked, turned into a caller.

The answer comes from the issuer itself, so there is no signature; everything else is checked against the config like
the claims of a JWT. An unreadable answer decides nothing: only an explicit answer accepts or refuses a token. Pure
functions; the current time is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from sidecar.config.settings.settings import IssuerSettings
from sidecar.identity import issuer_json
from sidecar.identity.audience import check_audience
from sidecar.identity.claims import (
    MAX_TOKEN,
    caller_of,
    check_times,
    time_of,
)
from sidecar.identity.invalid_token import found_in, invalid
from sidecar.identity.token_kind import check_kind, check_unbound
from sidecar.model import Caller

# RFC 6750 section 2.1, b64token.
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def check_form(token: str) -> None:
    """Refuse a malformed bearer token before its issuer is asked about it (RFC 6750 section 2.1).

    Raises:
        Refusal: `token_invalid`.
    """
    if len(token) > MAX_TOKEN:
        raise invalid(f"it has more than {MAX_TOKEN} characters, the form of no bearer token here", found=len(token))
    if not _TOKEN.fullmatch(token):
        raise invalid("it has characters outside the form of a bearer token (RFC 6750 section 2.1)")


def read(body: bytes) -> Mapping[str, Any]:
    """Parse an introspection response.

    Raises:
        IssuerJsonError: it is none, so nothing is known; the message contains nothing of it.
    """
    document = issuer_json.parse_object(body)
    if "active" not in document:
        raise issuer_json.IssuerJsonError("has no member `active`")
    return document


def active(document: Mapping[str, Any]) -> bool:
    """Return whether the issuer states explicitly that the token is active."""
    return document["active"] is True


def caller(
    document: Mapping[str, Any],
    issuer: IssuerSettings,
    resource: str,
    *,
    now: float,
    first_seen: int,
    declared: Collection[str] = (),
) -> Caller:
    """Return the caller of an introspected token.

    Args:
        document: from `read`.
        issuer: the one that answered.
        resource: the audience, unless the issuer has its own.
        now: time of the request, seconds since the epoch; without `exp`, the token ends with the answer's use.
        first_seen: when the token was first seen here, which replaces a missing `iat`.
        declared: the scopes that the policy declares.

    Raises:
        Refusal: `token_invalid` when the token is not active, or not meant for this resource.
    """
    if not active(document):
        wrong = "its issuer says that it is not active"
        raise invalid(wrong, check="active", found=found_in(document, "active"), accepted=[True])
    if document.get("iss", issuer.issuer) != issuer.issuer:
        wrong = "it is not from the issuer that was asked"
        raise invalid(wrong, check="iss", found=found_in(document, "iss"), accepted=[issuer.issuer])
    check_unbound(document)
    check_kind(None, document, issuer)
    check_audience(document, issuer, resource)
    check_times(document, issuer.leeway, now)
    return caller_of(document, issuer, *_times(document, issuer, now, first_seen), declared)


def _times(document: Mapping[str, Any], issuer: IssuerSettings, now: float, first_seen: int) -> tuple[float, float]:
    cache = 0.0 if issuer.introspection is None else issuer.introspection.cache
    expires = time_of(document, "exp") if "exp" in document else int(now + cache)
    return time_of(document, "iat") if "iat" in document else min(first_seen, expires), expires
