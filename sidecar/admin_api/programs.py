"""Programs that may use the API: found by token, or by the name in a certificate.

Tokens are compared as digests, all of them, so that the time of a comparison says nothing about a token. A request
with a token is that token's: a wrong one is refused also on a connection with a certificate.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sidecar.admin_api.api_problems import ApiCode, ApiProblem
from sidecar.config.settings.admin_api_settings import AdminApiSettings

CHALLENGE: Final = ("WWW-Authenticate", 'Bearer realm="mcp-sidecar admin API"')
"""Header of an answer with status 401 (RFC 9110 section 11.6.1)."""
MAX_TOKEN: Final = 4096
"""Characters of a token that are looked at."""


@dataclass(frozen=True, slots=True)
class Program:
    """Program that the config names.

    Attributes:
        name: its name in the config.
        may: its permissions.
    """

    name: str
    may: frozenset[str]

    @property
    def author(self) -> str:
        """Author of its changes, in the journal and the log."""
        return f"admin:{self.name}"


class Programs:
    """Programs of one config.

    Args:
        settings: the section of the config.
    """

    def __init__(self, settings: AdminApiSettings) -> None:
        self._by_token = [
            (_digest(each.token.get_secret_value()), Program(each.name, frozenset(each.may)))
            for each in settings.tokens
        ]
        self._by_certificate = {each.name: Program(each.name, frozenset(each.may)) for each in settings.clients}

    def authenticate(self, authorizations: Sequence[str], certificate: Mapping[str, Any] | None) -> Program:
        """Return the caller of a request.

        Args:
            authorizations: its `Authorization` headers.
            certificate: the verified certificate of its connection; None without one.

        Raises:
            ApiProblem: it has no token, a wrong one or several, or its certificate is of no program.
        """
        if authorizations:
            return self._with_token(authorizations)
        if certificate:
            return self._with_certificate(certificate)
        raise ApiProblem(ApiCode.TOKEN_MISSING, headers=(CHALLENGE,))

    def _with_token(self, authorizations: Sequence[str]) -> Program:
        scheme, _, token = authorizations[0].partition(" ")
        shown, found = _digest(token.strip(" ")[:MAX_TOKEN]), None
        for digest, program in self._by_token:
            if hmac.compare_digest(digest, shown):
                found = program
        if found is None or len(authorizations) != 1 or scheme.lower() != "bearer":
            raise ApiProblem(ApiCode.TOKEN_INVALID, headers=(CHALLENGE,))
        return found

    def _with_certificate(self, certificate: Mapping[str, Any]) -> Program:
        for name in certificate_names(certificate):
            if name in self._by_certificate:
                return self._by_certificate[name]
        raise ApiProblem(ApiCode.CERTIFICATE_UNKNOWN, headers=(CHALLENGE,))

    def still_has(self, program: Program) -> bool:
        """Return True while the config names this program, with these permissions."""
        known = [each for _, each in self._by_token] + list(self._by_certificate.values())
        return program in known


def certificate_names(certificate: Mapping[str, Any]) -> list[str]:
    """Return the names of a certificate, as `SSLSocket.getpeercert` describes it.

    They are the DNS names and URIs of its alternative names; without any, its only common name (RFC 9525 section 2).
    """
    alternative = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "URI")]
    if alternative:
        return alternative
    parts = [part for group in certificate.get("subject", ()) for part in group]
    common = [value for name, value in parts if name == "commonName"]
    return common if len(common) == 1 else []


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
