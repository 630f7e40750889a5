"""What this resource server says of itself: its metadata document, and the challenges of its refusals.

Everything is made from the configured resource, never from a request (RFC 9728 section 3.3: clients
compare it with the URL they used). Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from sidecar.errors import ErrorCode

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"

# RFC 6750 section 3: what `error_description` may hold, without the quotes and backslashes that it
# may not. `=` goes too: clients look for the first `name=` anywhere in the header.
_UNSPEAKABLE: Final = re.compile(r"[^\x20\x21\x23-\x3c\x3e-\x5b\x5d-\x7e]")
# RFC 6749 section 3.3: the characters of one scope.
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")

# RFC 6750 section 3.1: a request without any token is told no error.
_ERRORS: Final = {
    ErrorCode.TOKEN_MISSING: None,
    ErrorCode.INSUFFICIENT_SCOPE: "insufficient_scope",
}


def metadata_paths(resource: str) -> tuple[str, ...]:
    """The paths that serve the document: the one made from the resource, then the root one.

    Clients try the path of the challenge, then the inserted one, then the root, so both exist
    (RFC 9728 section 3.1, MCP authorization server discovery).
    """
    path = urlsplit(resource).path
    return (WELL_KNOWN,) if path in ("", "/") else (f"{WELL_KNOWN}{path}", WELL_KNOWN)


def metadata_url(resource: str) -> str:
    """The URL of the document, for `resource_metadata` (RFC 9728 sections 3.1 and 5.1)."""
    parts = urlsplit(resource)
    return parts._replace(path=metadata_paths(resource)[0], fragment="").geturl()


def resource_metadata(resource: str, issuers: Iterable[str], scopes: Iterable[str]) -> dict[str, Any]:
    """The protected resource metadata (RFC 9728 section 2).

    Args:
        resource: the configured resource, byte for byte.
        issuers: issuer identifiers, in the order of the config; at least one.
        scopes: all that the policy declares. `offline_access` is left out, as it is no scope of the
            resource (MCP authorization, scope minimization).

    Raises:
        ValueError: there is no issuer.
    """
    servers = list(issuers)
    if not servers:
        raise ValueError("a protected resource needs at least one issuer")
    document: dict[str, Any] = {
        "resource": resource,
        "authorization_servers": servers,
        "bearer_methods_supported": ["header"],
    }
    supported = [scope for scope in scopes if scope != "offline_access"]
    if supported:
        document["scopes_supported"] = supported
    return document


def challenge(code: ErrorCode, resource: str, scopes: Sequence[str], description: str) -> str:
    """The value of `WWW-Authenticate` for a refusal that a login or another scope would cure.

    `scope` stands before `error_description`, and no description holds a `=`: clients read the
    parameters with a search for the first `name=`, so the order is part of the contract.

    Args:
        code: the refusal; every code but `token_missing` and `insufficient_scope` is an
            `invalid_token` for OAuth, such as a consent that was revoked.
        resource: the configured resource.
        scopes: what the login should ask for; those that could not stand in a header are left out.
        description: a sentence for the developer of the client.
    """
    parameters = [("resource_metadata", metadata_url(resource).replace("\\", "%5C").replace('"', "%22"))]
    error = _ERRORS.get(code, "invalid_token")
    if error is not None:
        parameters.insert(0, ("error", error))
    asked = [scope for scope in dict.fromkeys(scopes) if scope != "offline_access" and _SCOPE.fullmatch(scope)]
    if asked:
        parameters.append(("scope", " ".join(asked)))
    if error is not None:
        parameters.append(("error_description", _UNSPEAKABLE.sub("'", description)))
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parameters)
