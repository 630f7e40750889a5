"""Trials of --register: registration of a client, and a login with `resource` (RFC 7591, RFC 8707).

No metadata announces RFC 8707. An authorization server that answers `invalid_target` to a foreign resource knows it;
one that shows its login first can only be judged by a token's `aud`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from sidecar.doctor.rules.findings import Finding, fail, ok, unchecked, warn
from sidecar.doctor.rules.issuer_documents import REGISTRATION
from sidecar.doctor.rules.probe_answer import ProbeAnswer, cause_of
from sidecar.identity.invalid_token import shown

RESOURCE: Final = "resource"
REDIRECT: Final = "http://127.0.0.1:33418/callback"
FOREIGN: Final = "https://doctor.invalid/mcp"
"""Resource that no authorization server knows."""
_INVALID: Final = "invalid_target"  # RFC 8707 section 2
_AT_ISSUER: Final = "allow this redirect URI and these grants for new clients; see the answer's reason in its log"
# The code is never redeemed, so the verifier is no secret.
_CHALLENGE: Final = base64.urlsafe_b64encode(hashlib.sha256(b"doctor" * 8).digest()).rstrip(b"=").decode()


def client_document(scopes: Sequence[str]) -> dict[str, Any]:
    """Return the metadata of the client that is registered."""
    return {
        "client_name": "mcp-sidecar doctor",
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        **({"scope": " ".join(scopes)} if scopes else {}),
    }


def registered_id(answer: ProbeAnswer) -> str | None:
    """Return the client id of a successful registration."""
    found = (answer.document or {}).get("client_id") if answer.status in (200, 201) and answer.good else None
    return found if isinstance(found, str) and found else None


def judge_registered(answer: ProbeAnswer) -> Finding:
    """Judge the answer to a registration."""
    client = registered_id(answer)
    if client is not None:
        return ok(REGISTRATION, f"registered the client {shown(client)}")
    error = (answer.document or {}).get("error")
    says = cause_of(answer)[0] if error is None else f"answered {answer.status} with error {shown(error)}"
    return fail(REGISTRATION, f"dynamic registration: {says}", _AT_ISSUER)


def removal(answer: ProbeAnswer) -> tuple[str, str] | None:
    """Return the URL and the token that remove the client again, where the answer has them (RFC 7592 section 2.3)."""
    document = answer.document or {}
    url, token = document.get("registration_client_uri"), document.get("registration_access_token")
    usable = isinstance(url, str) and isinstance(token, str) and token.isascii() and token.isprintable()
    if not usable or urlsplit(str(url))[:2] != urlsplit(answer.url)[:2]:
        return None
    return str(url), str(token)


def judge_removed(client: str, answer: ProbeAnswer | None) -> Finding:
    """Judge the removal of the registered client."""
    if answer is not None and answer.good:
        return ok(REGISTRATION, f"removed the client {shown(client)}")
    return unchecked(
        REGISTRATION, f"the client {shown(client)} stays registered", "remove it at the authorization server"
    )


def authorization_url(endpoint: str, client: str, resource: str, scopes: Sequence[str]) -> str:
    """Return the URL that a client opens in the browser (OAuth 2.1 section 4.1.1, RFC 8707 section 2.1)."""
    parameters = {
        "response_type": "code",
        "client_id": client,
        "redirect_uri": REDIRECT,
        "code_challenge": _CHALLENGE,
        "code_challenge_method": "S256",
        "state": "doctor",
        "resource": resource,
        **({"scope": " ".join(scopes)} if scopes else {}),
    }
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(parameters)}"


def judge_resource(own: ProbeAnswer, foreign: ProbeAnswer, url: str) -> Iterator[Finding]:
    """Judge the answers to authorization requests for the URL and for a foreign resource."""
    error = _error(own)
    if error == _INVALID:
        yield fail(
            RESOURCE,
            f"a login with resource={url} is refused with {_INVALID}",
            "register the URL as a resource (API, audience) at the authorization server, with these bytes",
        )
        return
    if error is not None or own.problem is not None or own.status >= 400:
        says = own.problem_or_status if error is None else f"refused with {shown(error)}"
        yield warn(RESOURCE, f"a login with resource={url}: {says}", "see the log of the authorization server")
        return
    if _error(foreign) == _INVALID:
        yield ok(RESOURCE, "resource is taken, and a foreign one is refused")
    else:
        yield unchecked(
            RESOURCE,
            "resource is taken; a foreign one is not refused before the login, so that it may be ignored",
            "log in once and run again with --token-file: `aud` shows it",
        )


def _error(answer: ProbeAnswer) -> str | None:
    """Return the error that a client gets; a code that it may get is not looked at."""
    location = answer.header("location") or ""
    if location.startswith(REDIRECT):
        return next(iter(parse_qs(urlsplit(location).query).get("error", [])), None)
    found = (answer.document or {}).get("error") if answer.status >= 400 else None
    return found if isinstance(found, str) else None


def unknown_resource(document: Mapping[str, Any]) -> Finding:
    """Return the finding without a trial; the metadata has no member for RFC 8707."""
    says = "no metadata says if the authorization server honours resource (RFC 8707)"
    if document.get("resource_indicators_supported") is True:
        says = "resource_indicators_supported is true, which no standard defines"
    return unchecked(RESOURCE, says, "--token-file shows `aud`; --register tries a login with it")
