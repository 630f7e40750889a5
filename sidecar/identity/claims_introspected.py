"""What an issuer says of an opaque token (RFC 7662 section 2.2): read strictly, made into a caller.

The issuer answers for itself, so there is no signature; everything else is held against the config as
the claims of a JWT are. An answer that cannot be read says nothing about the token: only a clear word makes
it good, and only a clear word makes it bad. Pure functions; the caller's clock is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sidecar.config.settings import Issuer
from sidecar.identity.claims import (
    MAX_TOKEN,
    account_of,
    caller_of,
    check_audience,
    check_times,
    check_unbound,
    invalid,
    media_type,
    texts,
    time_of,
)
from sidecar.model import Caller
from sidecar.protocol import strictjson

# RFC 6750 section 2.1, b64token.
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
# Members by which issuers tell access tokens from the refresh and ID tokens that they answer for at the
# same endpoint; only the first is RFC 7662's own.
_KINDS: Final[Mapping[str, frozenset[str]]] = {
    "token_type": frozenset({"bearer"}),
    "token_use": frozenset({"access_token", "access"}),
    "typ": frozenset({"bearer", "at+jwt", "jwt"}),
}


def check_form(token: str) -> None:
    """Refuse what is no bearer token before anybody is asked about it (RFC 6750 section 2.1).

    Raises:
        Refusal: `token_invalid`.
    """
    if len(token) > MAX_TOKEN or not _TOKEN.fullmatch(token):
        raise invalid("it is not of the form of a bearer token")


def read(body: bytes) -> Mapping[str, Any]:
    """Read an answer.

    Raises:
        ValueError: it is no introspection response, so nothing is known; holds nothing that it said.
    """
    document = strictjson.parse(body).plain
    if not isinstance(document, dict) or "active" not in document:
        raise ValueError("not an object with `active`")
    return document


def active(document: Mapping[str, Any]) -> bool:
    """Whether the issuer says, in so many words, that the token is good."""
    return document["active"] is True


def caller(document: Mapping[str, Any], issuer: Issuer, resource: str, *, now: float, first_seen: int) -> Caller:
    """Whom an answer's token speaks for.

    Args:
        document: from `read`.
        issuer: the one that answered.
        resource: the audience, unless the issuer has its own.
        now: when it was asked, seconds since the epoch; what has no `exp` ends with the answer's use.
        first_seen: when the token was first seen here, which stands for `iat` where that is absent.

    Raises:
        Refusal: `token_invalid` when the token is not active, or not meant for this.
    """
    if not active(document):
        raise invalid("its issuer says that it is not active")
    if document.get("iss", issuer.issuer) != issuer.issuer:
        raise invalid("it is not from the issuer that was asked")
    _check_kind(document, issuer)
    check_audience(document, issuer, resource)
    check_times(document, issuer.leeway, now)
    return caller_of(document, issuer, _subject(document, issuer), *_times(document, issuer, now, first_seen))


def _check_kind(document: Mapping[str, Any], issuer: Issuer) -> None:
    configured = frozenset(media_type(typ) for typ in texts(issuer.typ))
    for member, kinds in _KINDS.items():
        accepted = configured if member == "typ" and configured else kinds
        value = document.get(member)
        if member in document and not (isinstance(value, str) and media_type(value) in accepted):
            raise invalid(f"its {member} is not that of a bearer access token")
    check_unbound(document)


def _subject(document: Mapping[str, Any], issuer: Issuer) -> object:
    """Some issuers leave `sub` out; then whoever names the account is the subject, if that is another claim."""
    return document["sub"] if "sub" in document else account_of(document, issuer)


def _times(document: Mapping[str, Any], issuer: Issuer, now: float, first_seen: int) -> tuple[int, int]:
    cache = 0.0 if issuer.introspection is None else issuer.introspection.cache
    expires = time_of(document, "exp") if "exp" in document else int(now + cache)
    return time_of(document, "iat") if "iat" in document else min(first_seen, expires), expires
