"""Issuers that no token can match, by the documented `iss` of well-known providers. Pure.

The `iss` of a token is compared byte for byte. A URL that is not quite the issuer's identifier therefore refuses every
token, and clients then open a login at every call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sidecar.config.documents.merging import Document, Problem
from sidecar.config.settings.settings import IssuerSettings, Settings
from sidecar.identity.token_kind import ambiguous_audiences
from sidecar.workbench.lint import Notice

_GUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TENANT: Final = rf"(?:{_GUID}|\{{tenantid\}})"
# Names of audiences for accounts of several tenants: URLs for logins, never an `iss`.
_SHARED: Final = re.compile(r"/(?:common|organizations|consumers)(?:/v2\.0)?/?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Provider:
    """Documented form of a provider's identifiers.

    Attributes:
        host: pattern of the host.
        path: pattern of the path; None: no access token of these is a JWT that this server can verify.
        says: the reason, and what to write.
    """

    host: re.Pattern[str]
    path: re.Pattern[str] | None
    says: str


def _provider(host: str, path: str | None, says: str) -> _Provider:
    return _Provider(re.compile(host), None if path is None else re.compile(path), says)


_PROVIDERS: Final = (
    _provider(
        r"login\.microsoftonline\.(?:com|us)|login\.partner\.microsoftonline\.cn",
        rf"/{_TENANT}/v2\.0",
        "Entra ID writes https://login.microsoftonline.com/TENANT_ID/v2.0, or for v1.0 tokens "
        "https://sts.windows.net/TENANT_ID/",
    ),
    _provider(r"sts\.windows\.net", rf"/{_TENANT}/", "Entra ID writes https://sts.windows.net/TENANT_ID/ in v1.0"),
    _provider(
        r"[^.]+(?:\.[a-z]{2})?\.auth0\.com", "/", "Auth0 writes https://TENANT.auth0.com/ with the slash at its end"
    ),
    _provider(
        r"[^.]+\.okta(?:preview|-emea|-gov)?\.com",
        r"/oauth2/[^/]+",
        "access tokens of Okta's org authorization server are for Okta itself; use a custom one, such as "
        "https://TENANT.okta.com/oauth2/default",
    ),
    _provider(r"cognito-idp\.[a-z0-9-]+\.amazonaws\.com", r"/[^/]+", "Cognito writes it without a slash at its end"),
    _provider(r"[^.]+\.supabase\.co", "/auth/v1", "Supabase writes https://PROJECT.supabase.co/auth/v1"),
    _provider(
        r"accounts\.google\.com",
        None,
        "Google's access tokens are opaque, and Google has no introspection endpoint (RFC 7662); use an authorization "
        "server that logs people in with Google and issues tokens of its own. Identity tokens of service accounts do "
        "match: set advertise to false for those",
    ),
)
# By path, for servers under any host.
_KEYCLOAK: Final = re.compile(r"(?:/auth)?/realms/[^/]+/")
_AUTHENTIK: Final = re.compile(r"/application/o/[^/]+")


def unmatched_issuers(settings: Settings, document: Document) -> Iterator[Problem]:
    """Yield a problem for each issuer whose identifier no token can have.

    Args:
        settings: the config.
        document: the document of the config, for the positions.
    """
    for index, issuer in enumerate(settings.issuers):
        for url in issuer.identifiers:
            parts = urlsplit(url)
            if _PROVIDERS[0].host.fullmatch(parts.hostname or "") and _SHARED.fullmatch(parts.path):
                key = "issuer" if url == issuer.issuer else "tenants"
                wrong = "a URL for logins; tokens name the tenant of the user, so no token has this iss"
                accepted = "https://login.microsoftonline.com/TENANT_ID/v2.0"
                yield document.problem(("issuers", index, key), wrong, accepted)


def doubtful_issuers(settings: Settings, document: Document) -> Iterator[Notice]:
    """Yield warnings of issuers that probably match no token, and of audiences that ID tokens have, too."""
    for index, issuer in enumerate(settings.issuers):
        for url in issuer.identifiers or (issuer.issuer,):
            doubt = _doubt(issuer, url)
            if doubt is not None:
                rule = document.rule(("issuers", index, "issuer"))
                yield Notice(rule, f"issuers[{index}].issuer: {url} is probably no iss of a token: {doubt}")
        for audience in ambiguous_audiences(issuer) if issuer.signs else ():
            yield Notice(
                document.rule(("issuers", index, "audience")),
                f"issuers[{index}].audience: {audience} may be a client id, which is the aud of ID tokens, too: a "
                "token that does not say that it is an access token cannot be distinguished from them. Let "
                "the issuer write the resource as aud; else set typ, if its access tokens have one of their own, or "
                "use introspection",
            )


def _doubt(issuer: IssuerSettings, url: str) -> str | None:
    """Return why no token of an issuer may have this `iss`; None when nothing speaks against it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    for provider in _PROVIDERS:
        if provider.host.fullmatch(host):
            known = provider.path is not None and provider.path.fullmatch(parts.path)
            # Without logins there, its tokens are those that programs obtain by themselves.
            other = provider.path is None and (issuer.introspection is not None or issuer.advertise is False)
            return None if known or other else provider.says
    if _KEYCLOAK.fullmatch(parts.path):
        return "Keycloak writes it without a slash at its end"
    if _AUTHENTIK.fullmatch(parts.path):
        return "authentik writes it with a slash at its end"
    return None
