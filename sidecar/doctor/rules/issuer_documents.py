"""Metadata of an authorization server (RFC 8414, OpenID Connect Discovery), as official clients look for it and use it.

They try the locations in order, go on after 4xx and redirects, stop at a 5xx, and take the first document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from sidecar.doctor.rules.address import is_fetchable, is_local
from sidecar.doctor.rules.findings import Finding, fail, ok, unchecked, warn
from sidecar.doctor.rules.probe_answer import ProbeAnswer, cause_of
from sidecar.doctor.rules.resource_documents import is_texts
from sidecar.identity.invalid_token import shown
from sidecar.identity.jwt.trial_mark import is_trial

ISSUER: Final = "issuer"
PKCE: Final = "pkce"
REGISTRATION: Final = "registration"
_AT_ISSUER: Final = "change it at the authorization server"
_OPENID: Final = "openid-configuration"
# Members that the TypeScript SDK requires of a document at an OpenID location.
_OPENID_MEMBERS: Final = ("jwks_uri", "subject_types_supported", "id_token_signing_alg_values_supported")


def is_last(answer: ProbeAnswer) -> bool:
    """Return True when clients ask no further location after this answer."""
    return answer.problem is None and (answer.good or answer.status >= 500)


def judge_discovery(
    issuer: str, answers: Sequence[ProbeAnswer], public: str
) -> tuple[list[Finding], Mapping[str, Any] | None]:
    """Judge the locations that were asked, and return the metadata that clients use, if any."""
    last = answers[-1] if answers else None
    if last is None or not is_last(last):
        tried = "; ".join(f"{urlsplit(each.url).path}: {each.problem_or_status}" for each in answers)
        fix = "serve RFC 8414 or OpenID metadata at one of these paths, without a redirect"
        return [fail(ISSUER, f"{shown(issuer)} has no metadata ({tried})", fix)], None
    if not last.good:
        says, fix = cause_of(last)
        return [fail(ISSUER, f"{shown(last.url)}: {says}; official clients ask no further location", fix)], None
    document = last.document
    if document is None:
        fix = f"answer 404 there, or the metadata; {_AT_ISSUER}"
        return [fail(ISSUER, f"{shown(last.url)} is no JSON object, and clients ask no further location", fix)], None
    found = [*_identity(issuer, document), *_endpoints(last.url, document)]
    if is_trial(document) and not is_local(public):
        found.append(fail(ISSUER, f"{shown(issuer)} gives tokens to everyone: it is for trials", "use another issuer"))
    return found or [ok(ISSUER, f"{shown(issuer)}, metadata at {urlsplit(last.url).path}")], document


def _identity(issuer: str, document: Mapping[str, Any]) -> Iterator[Finding]:
    named = document.get("issuer")
    if named == issuer:
        return
    says = f"its metadata says issuer {shown(named)}, and {shown(issuer)} is announced (RFC 8414 section 3.3)"
    slash = isinstance(named, str) and named.rstrip("/") == issuer.rstrip("/")
    fix = "write `issuer` with the same bytes" + (", the slash at its end included" if slash else "")
    yield fail(ISSUER, says, fix)


def _endpoints(location: str, document: Mapping[str, Any]) -> Iterator[Finding]:
    for name in ("authorization_endpoint", "token_endpoint"):
        endpoint = document.get(name)
        if not isinstance(endpoint, str) or not is_fetchable(endpoint, location):
            yield fail(ISSUER, f"{name} is {shown(endpoint)}; clients need an https:// URL", _AT_ISSUER)
    types = document.get("response_types_supported")
    if not is_texts(types) or "code" not in (types or ()):
        yield fail(ISSUER, f"response_types_supported is {shown(types)}, without code", _AT_ISSUER)
    if _OPENID in location:
        missing = [name for name in _OPENID_MEMBERS if name not in document]
        if missing:
            says = f"OpenID metadata without {', '.join(missing)}, which the TypeScript client requires"
            yield fail(ISSUER, says, f"{_AT_ISSUER}, or serve RFC 8414 metadata")
    grants = document.get("grant_types_supported")
    if is_texts(grants) and "authorization_code" not in (grants or ()):
        yield fail(ISSUER, "grant_types_supported has no authorization_code", _AT_ISSUER)
    methods = document.get("token_endpoint_auth_methods_supported")
    if is_texts(methods) and "none" not in (methods or ()):
        says = f"token_endpoint_auth_methods_supported is {shown(methods)}, without none"
        yield warn(ISSUER, says, "allow public clients: native MCP clients keep no secret")


def judge_pkce(document: Mapping[str, Any]) -> Finding:
    """Judge PKCE (MCP authorization: clients refuse to log in where S256 is not announced)."""
    methods = document.get("code_challenge_methods_supported")
    if is_texts(methods) and "S256" in (methods or ()):
        return ok(PKCE, "S256 is announced")
    says = f"code_challenge_methods_supported is {shown(methods) if methods is not None else 'absent'}, without S256"
    return fail(PKCE, says, f"enable PKCE with S256 and announce it; {_AT_ISSUER}")


def registration_endpoint(document: Mapping[str, Any], public: str) -> str | None:
    """Return the announced endpoint of dynamic registration, where it can be asked."""
    endpoint = document.get("registration_endpoint")
    return endpoint if isinstance(endpoint, str) and is_fetchable(endpoint, public) else None


def judge_registration(document: Mapping[str, Any], public: str, *, tried: bool) -> Iterator[Finding]:
    """Judge the announced ways for a client that the authorization server does not know."""
    by_document = document.get("client_id_metadata_document_supported")
    endpoint = document.get("registration_endpoint")
    if by_document is not None and not isinstance(by_document, bool):
        yield fail(REGISTRATION, "client_id_metadata_document_supported is neither true nor false", _AT_ISSUER)
    if endpoint is not None and registration_endpoint(document, public) is None:
        yield fail(REGISTRATION, f"registration_endpoint {shown(endpoint)} is no https:// URL", _AT_ISSUER)
        return
    ways = [
        *(["client id metadata documents"] if by_document is True else []),
        *(["dynamic registration"] if endpoint is not None else []),
    ]
    if not ways:
        yield warn(
            REGISTRATION,
            "none is announced: only clients with an id of yours can log in",
            "enable client id metadata documents or dynamic registration, or register each client by hand",
        )
        return
    yield ok(REGISTRATION, f"announced: {', '.join(ways)}")
    if endpoint is not None and not tried:
        yield unchecked(REGISTRATION, "dynamic registration was not tried", "--register creates a client, once")
