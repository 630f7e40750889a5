"""Protected resource metadata of this server, and the challenges of its refusals.

Everything is built from the configured resource, never from a request (RFC 9728 section 3.3: clients
compare it with the URL they used). Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from sidecar.errors import ErrorCode

MAX_DESCRIPTION: Final = 512
"""Characters of an `error_description`; some proxies refuse answers with headers of a few KiB."""
WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"

# RFC 6750 section 3: characters that `error_description` must not hold. `=` is removed, too: clients look for the
# first `name=` anywhere in the header.
_NOT_IN_DESCRIPTION: Final = re.compile(r"[^\x20\x21\x23-\x3c\x3e-\x5b\x5d-\x7e]")
# RFC 6749 section 3.3: the characters of one scope.
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")

# RFC 6750 section 3.1: a request without any token gets no error code.
_ERRORS: Final = {
    ErrorCode.TOKEN_MISSING: None,
    ErrorCode.INSUFFICIENT_SCOPE: "insufficient_scope",
}


def metadata_paths(resource: str) -> tuple[str, ...]:
    """Return the paths that serve the document: the one made from the resource, then the root one.

    Clients try the path of the challenge, then the inserted one, then the root, so both exist
    (RFC 9728 section 3.1, MCP authorization server discovery).
    """
    path = urlsplit(resource).path
    return (WELL_KNOWN,) if path in ("", "/") else (f"{WELL_KNOWN}{path}", WELL_KNOWN)


@lru_cache(16)  # there is one resource, and another one after a reload
def metadata_url(resource: str) -> str:
    """Return the URL of the document, for `resource_metadata` (RFC 9728 sections 3.1 and 5.1); it can be quoted."""
    parts = urlsplit(resource)
    url = parts._replace(path=metadata_paths(resource)[0], fragment="").geturl()
    return url.replace("\\", "%5C").replace('"', "%22")


def resource_metadata(resource: str, issuers: Iterable[str], scopes: Iterable[str]) -> dict[str, Any]:
    """Build the protected resource metadata (RFC 9728 section 2).

    Args:
        resource: the configured resource, byte for byte.
        issuers: issuer identifiers, in the order of the config; without any, the member is left out.
        scopes: all that the policy declares. `offline_access` is left out, as it is no scope of the
            resource (MCP authorization, scope minimization).
    """
    servers = list(issuers)
    document: dict[str, Any] = {
        "resource": resource,
        **({"authorization_servers": servers} if servers else {}),
        "bearer_methods_supported": ["header"],
    }
    supported = [scope for scope in scopes if scope != "offline_access"]
    if supported:
        document["scopes_supported"] = supported
    return document


def challenge(code: ErrorCode, resource: str, scopes: Sequence[str], description: str) -> str:
    """Build the value of `WWW-Authenticate` for a refusal that a login or another scope would cure.

    `scope` stands before `error_description`, and no description holds a `=`: clients read the
    parameters with a search for the first `name=`, so the order is part of the contract.

    Args:
        code: the refusal; every code but `token_missing` and `insufficient_scope` is an
            `invalid_token` for OAuth, such as a consent that was revoked.
        resource: the configured resource.
        scopes: scopes that the login should request; those that cannot stand in a header are left out.
        description: a sentence for the developer of the client; it is cut to `MAX_DESCRIPTION`.
    """
    return _challenge(code, resource, tuple(scopes), description)


@lru_cache(256)  # clients without a token, or without a scope, get the same few
def _challenge(code: ErrorCode, resource: str, scopes: tuple[str, ...], description: str) -> str:
    parameters = [("resource_metadata", metadata_url(resource))]
    error = _ERRORS.get(code, "invalid_token")
    if error is not None:
        parameters.insert(0, ("error", error))
    asked = [scope for scope in dict.fromkeys(scopes) if scope != "offline_access" and _SCOPE.fullmatch(scope)]
    if asked:
        parameters.append(("scope", " ".join(asked)))
    if error is not None:
        cut = description if len(description) <= MAX_DESCRIPTION else f"{description[: MAX_DESCRIPTION - 3]}..."
        parameters.append(("error_description", _NOT_IN_DESCRIPTION.sub("'", cut)))
    return "Bearer " + ", ".join([f'{name}="{value}"' for name, value in parameters])
