"""Scopes of an access token as the policy names them, and the policy's scopes as an issuer names them.

A token's scopes are those of the first claim that names a declared scope, never a union: a person's roles must not
widen what the person delegated to a client. `grants` of the config are added to them, for issuers that cannot put
scopes into tokens. The consent record narrows both later. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from sidecar.config.settings.settings import IssuerSettings
from sidecar.identity.claim_path import value_at
from sidecar.identity.invalid_token import invalid

DEFAULT_PATHS: Final = ("scope", "scp")
"""Claims that are read when the config names none."""

_NONE: Final[frozenset[str]] = frozenset()
_USUAL: Final = 512  # characters of a text whose scopes may be remembered
# RFC 6749 section 3.3: the characters of one scope.
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
# Scopes of OpenID Connect (Core 1.0 sections 3.1.2.1, 5.4 and 11) belong to no resource, so no prefix applies to them.
_OPENID: Final = frozenset({"openid", "profile", "email", "address", "phone", "offline_access"})


# --- from tokens -------------------------------------------------------------------------------


def scopes_of(
    claims: Mapping[str, Any], issuer: IssuerSettings, client_id: str, declared: Collection[str]
) -> frozenset[str]:
    """Return the scopes of a token: its own without the issuer's prefix, joined with those that the config grants.

    Args:
        claims: from the token or from its issuer.
        issuer: the issuer of the token.
        client_id: the client of the token.
        declared: the scopes that the policy declares. When no claim names one of them, the scopes are those of the
            first claim that is present; they permit nothing, and the log shows them.

    Raises:
        Refusal: `token_invalid` when a claim that is read is neither text nor a list nor an object.
    """
    own = _own(claims, issuer, declared)
    return own | granted(claims, issuer, client_id) if issuer.grants else own


def _own(claims: Mapping[str, Any], issuer: IssuerSettings, declared: Collection[str]) -> frozenset[str]:
    first: frozenset[str] | None = None
    prefix = issuer.scope_prefix
    for path in issuer.claims.scopes or DEFAULT_PATHS:
        value = value_at(claims, path)
        if value is None:
            continue
        scopes = _usual(value, prefix) if isinstance(value, str) and len(value) <= _USUAL else None
        if scopes is None:
            scopes = frozenset(_unprefixed(word, prefix) for word in _words(value, path))
        if not scopes.isdisjoint(declared):
            return scopes
        first = scopes if first is None else first
    return first or frozenset()


@lru_cache(256)  # most tokens of an issuer have the same few texts
def _usual(text: str, prefix: str | None) -> frozenset[str] | None:
    """Return the scopes of a text without the issuer's prefix; None for a malformed one."""
    words = [word for word in text.split(" ") if word]
    return frozenset([_unprefixed(word, prefix) for word in words]) if all(map(_SCOPE.fullmatch, words)) else None


def granted(claims: Mapping[str, Any], issuer: IssuerSettings, client_id: str) -> frozenset[str]:
    """Return the scopes that the config grants to a token of this issuer."""
    if not issuer.grants:
        return _NONE
    scopes: set[str] = set()
    # A token may have thousands of groups, and the config hundreds of grants: each claim is read once.
    held: dict[str, frozenset[str]] = {}
    for grant in issuer.grants:
        if grant.claim is not None and grant.claim not in held:
            held[grant.claim] = _names(value_at(claims, grant.claim))
        if (
            grant.all
            or client_id in (grant.clients or ())
            or (grant.claim is not None and not held[grant.claim].isdisjoint(grant.values or ()))
        ):
            scopes.update(grant.scopes)
    return frozenset(scopes)


def _words(value: object, path: str) -> Iterable[str]:
    """Return the scopes of a claim: words in a text (RFC 6749 section 3.3), a list, or the names of an object.

    Entries of a list may be names of roles with any characters; one that cannot be a scope is ignored.
    """
    if isinstance(value, str):
        words = [word for word in value.split(" ") if word]
        if all(map(_SCOPE.fullmatch, words)):
            return words
    elif isinstance(value, Mapping):  # Zitadel: {"role": {"organisation": "domain"}}
        return [name for name in value if _SCOPE.fullmatch(name) and _is_given(value[name])]
    elif isinstance(value, list) and all(isinstance(word, str) for word in value):
        return [word for word in value if _SCOPE.fullmatch(word)]
    accepted = ("space-separated scopes", "a list of scopes")
    # A malformed claim is not skipped for the next one, which may permit more.
    raise invalid(f"its {path} is malformed", check="scope", found=value, accepted=accepted)


def _unprefixed(scope: str, prefix: str | None) -> str:
    """Return a scope without the issuer's prefix, if it has it and is more than the prefix."""
    return (scope.removeprefix(prefix) or scope) if prefix else scope


def _names(value: object) -> frozenset[str]:
    """Return the values that a claim has: its text, the texts of its list, or the names of its object."""
    if isinstance(value, str):
        return frozenset((value,))
    if isinstance(value, Mapping):
        return frozenset(name for name in value if _is_given(value[name]))
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()


def _is_given(value: object) -> bool:
    """Return False for a member of an object that denies its name: false, null, 0 or an empty text."""
    return bool(value) or isinstance(value, Mapping | list)


# --- to clients --------------------------------------------------------------------------------


class PublishedScopes:
    """Declared scopes in the spelling of each issuer, without those that a login at it cannot obtain.

    A scope in the `grants` of an issuer is not obtainable there: the issuer would answer `invalid_scope`.

    Args:
        issuers: the configured issuers, in the order in which clients are sent to them.
    """

    def __init__(self, issuers: Iterable[IssuerSettings]) -> None:
        self._prefixes: dict[str, str] = {}
        self._granted: dict[str, frozenset[str]] = {}
        advertised: list[str] = []
        for issuer in issuers:
            self._prefixes[issuer.id] = issuer.scope_prefix or ""
            self._granted[issuer.id] = frozenset(scope for grant in issuer.grants for scope in grant.scopes)
            advertised += [issuer.id] if issuer.advertised else []
        self._advertised = advertised or list(self._prefixes)
        self._spelled = lru_cache(256)(self._spell)  # for challenges, which are the same for many calls

    def supported(self, scopes: Iterable[str]) -> tuple[str, ...]:
        """Return `scopes_supported` of the metadata: the spelling of each advertised issuer, in their order."""
        names = tuple(scopes)
        return tuple(dict.fromkeys(each for issuer in self._advertised for each in self.spelled(names, issuer)))

    def spelled(self, scopes: Iterable[str], issuer_id: str | None = None) -> tuple[str, ...]:
        """Return the obtainable ones of these scopes as a client requests them.

        Args:
            scopes: declared scopes.
            issuer_id: the issuer of the caller's token; None before a login, for the first advertised issuer, where
                clients log in unless they have a choice of their own.
        """
        return self._spelled(tuple(scopes), self._advertised[0] if issuer_id is None else issuer_id)

    def _spell(self, scopes: tuple[str, ...], issuer: str) -> tuple[str, ...]:
        prefix, unobtainable = self._prefixes[issuer], self._granted[issuer]
        return tuple(scope if scope in _OPENID else f"{prefix}{scope}" for scope in scopes if scope not in unobtainable)

    def unobtainable(self, scopes: Iterable[str], issuer_id: str) -> tuple[str, ...]:
        """Return the scopes that no login at this issuer obtains."""
        return tuple(scope for scope in scopes if scope in self._granted[issuer_id])
