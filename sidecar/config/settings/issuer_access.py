"""Settings of an issuer's tenants, of its keys, and of the way to them; `issuer_settings` has its other keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from sidecar.config.documents.merging import FindingsError, Model
from sidecar.config.settings.addresses import http_url, is_loopback
from sidecar.config.settings.scalars import FilePath

PLACEHOLDER: Final = "{tenantid}"
"""Text in `issuer` that stands for a tenant, as in the metadata of Entra ID."""
ANY: Final = "any"
MAX_TENANTS: Final = 64
"""Configured tenants of one issuer; each may have keys of its own."""

MAX_TENANT: Final = 64
"""Characters of a tenant's name."""

# No slash and no percent sign: a tenant is one segment of a path, and the account's name is `TENANT/CLAIM`.
_TENANT: Final = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?"
_URL_PATTERN: Final = "^https?://[^@#?]+$"

Finding = tuple[tuple[str | int, ...], str, str]


def is_tenant(text: str) -> bool:
    """Return True for the name of a tenant: 1 to 64 letters, digits, dots and hyphens, such as a GUID."""
    return re.fullmatch(_TENANT, text) is not None


def _issuer_url(value: object) -> str:
    """Check an issuer identifier, which may have a placeholder for the tenant as one segment of its path."""
    text = value if isinstance(value, str) else ""
    plain = text.replace(PLACEHOLDER, "tenant", 1)
    if plain != text and f"/{PLACEHOLDER}/" not in f"{text}/":
        raise ValueError(f"{PLACEHOLDER} is not one whole segment of the path; https://host/{PLACEHOLDER}/…")
    http_url(plain if isinstance(value, str) else value)
    if "?" in text:
        raise ValueError("a URL with a query; a URL without '?'")
    return text


def _advertise(value: object) -> bool | str:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or PLACEHOLDER in value:
        raise ValueError("neither false nor a URL; false, or the URL of an authorization server")
    return _issuer_url(value)


def _tenants(value: object) -> str | tuple[str, ...]:
    if value == ANY:
        return ANY
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MAX_TENANTS:
        raise ValueError(f"neither any nor a list of tenants; any, or a list of 1 to {MAX_TENANTS} tenants")
    wrong = [
        ((place,), "not a tenant", "1 to 64 letters, digits, dots and hyphens")
        for place, each in enumerate(value)
        if not isinstance(each, str) or not is_tenant(each)
    ]
    wrong += [((place,), "given twice", "once") for place, each in enumerate(value) if each in value[:place]]
    if wrong:
        raise FindingsError(wrong)
    return tuple(value)


IssuerUrl = Annotated[
    str,
    PlainValidator(_issuer_url),
    WithJsonSchema({"type": "string", "pattern": _URL_PATTERN, "description": "https://, or http:// to this machine"}),
]
Advertise = Annotated[
    bool | str,
    PlainValidator(_advertise),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": _URL_PATTERN}]}),
]
Tenants = Annotated[
    Literal["any"] | tuple[str, ...],
    PlainValidator(_tenants),
    PlainSerializer(lambda value: value if isinstance(value, str) else list(value)),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": ANY},
                {
                    "type": "array",
                    "items": {"type": "string", "pattern": f"^{_TENANT}$"},
                    "minItems": 1,
                    "maxItems": MAX_TENANTS,
                },
            ]
        }
    ),
]


class KeyFile(Model):
    """Key set in a file, for a sidecar without a way to the issuer."""

    file: FilePath
    """File of its JWK set, read again when it changes; instead of `jwks_uri` and metadata."""


class IssuerTls(Model):
    """TLS of the connections to an issuer."""

    ca: FilePath
    """PEM file of the authorities of its certificates, read again when it changes; default: the system's."""


# --- rules across keys ---------------------------------------------------------------------------


def access_findings(
    urls: Mapping[tuple[str | int, ...], str | None],
    *,
    tenants: object,
    has_introspection: bool,
    has_key_file: bool,
    has_tls: bool,
    insecure_http: bool,
) -> list[Finding]:
    """Return the conflicts between keys of one issuer.

    Args:
        urls: the URLs that it names, by their keys.
        tenants: `tenants`; None when absent.
        has_introspection: True with `introspection`.
        has_key_file: True with `jwks.file`.
        has_tls: True with `tls`.
        insecure_http: `insecure_http`.
    """
    issuer = urls["issuer",] or ""
    findings = list(_tenant_findings(issuer, tenants, has_introspection))
    if has_key_file and urls["jwks_uri",] is not None:
        findings.append((("jwks",), "set together with jwks_uri", "one of both"))
    given = {path: url for path, url in urls.items() if url is not None}
    plain = {path: url for path, url in given.items() if urlsplit(url).scheme == "http"}
    if not insecure_http:
        accepted = "https://, http:// to this machine, or insecure_http: true for a network that you trust"
        findings += [
            (path, "http:// to another machine", accepted)
            for path, url in plain.items()
            if not is_loopback(urlsplit(url).hostname or "")
        ]
    elif len(plain) == 0:
        findings.append((("insecure_http",), "not used without an http:// URL", "an http:// URL, or no insecure_http"))
    if has_tls and len(plain) == len(given):
        findings.append((("tls",), "not used with http:// URLs", "an https:// URL, or no tls"))
    return findings


def _tenant_findings(issuer: str, tenants: Any, has_introspection: bool) -> Iterator[Finding]:
    templated = PLACEHOLDER in issuer
    if templated and tenants is None:
        yield ("issuer",), f"{PLACEHOLDER} without tenants", "tenants: any, or a list of tenants"
    if tenants is not None and not templated:
        yield ("tenants",), f"not used without {PLACEHOLDER} in issuer", "an issuer with it, or no tenants"
    if tenants is not None and has_introspection:
        yield ("introspection",), "an answer about an opaque token names no tenant", "an issuer without tenants"
