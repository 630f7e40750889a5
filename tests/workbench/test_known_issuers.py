"""Issuers that no token can match are refused or pointed out; the documented ones are not."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.config.documents.merging import Document
from sidecar.config.settings.settings import IssuerSettings
from sidecar.workbench.known_issuers import doubtful_issuers

DOCUMENT = Document("config.yaml", {})
GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
ENTRA = "https://login.microsoftonline.com"
DOCUMENTED = [
    *("https://example.com/api/auth", "https://auth.example.com/", "https://auth.example.com"),
    *(f"{ENTRA}/{GUID}/v2.0", f"https://sts.windows.net/{GUID}/", "https://tenant.eu.auth0.com/"),
    *("https://tenant.auth0.com/", "https://t.okta.com/oauth2/default", "https://keycloak.example/realms/main"),
    *("https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab1", "https://abc.supabase.co/auth/v1"),
    *("https://sso.example.com/application/o/mcp/", "https://x.authkit.app", "https://x.clerk.accounts.dev"),
    *("https://x.us1.zitadel.cloud", "https://tenant.accounts.ondemand.com"),
]
DOUBTFUL = {
    f"{ENTRA}/{GUID}": "TENANT_ID/v2.0",
    f"{ENTRA}/{GUID}/v2.0/": "TENANT_ID/v2.0",
    f"{ENTRA}/contoso.onmicrosoft.com/v2.0": "TENANT_ID/v2.0",
    f"https://sts.windows.net/{GUID}": "sts.windows.net/TENANT_ID/",
    "https://tenant.auth0.com": "slash at its end",
    "https://tenant.eu.auth0.com": "slash at its end",
    "https://t.okta.com": "oauth2/default",
    "https://t.okta.com/": "oauth2/default",
    "https://keycloak.example/realms/main/": "without a slash",
    "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab1/": "without a slash",
    "https://sso.example.com/application/o/mcp": "with a slash",
    "https://abc.supabase.co": "/auth/v1",
    "https://accounts.google.com": "opaque",
}
INTROSPECTION = {"url": "https://example.com/introspect", "client_id": "rs", "client_secret": "s"}


class Config:
    """The part of the config that the warnings are about."""

    def __init__(self, **issuer: Any) -> None:
        self.issuers = (IssuerSettings.model_validate({"issuer": "https://example.com", **issuer}),)


def warnings(**issuer: Any) -> list[str]:
    return [str(each) for each in doubtful_issuers(Config(**issuer), DOCUMENT)]  # type: ignore[arg-type]


@pytest.mark.parametrize("url", DOCUMENTED)
def test_a_documented_issuer_is_not_doubted(url: str):
    assert warnings(issuer=url) == []


@pytest.mark.parametrize(("url", "says"), DOUBTFUL.items(), ids=list(DOUBTFUL))
def test_an_issuer_that_is_not_as_documented_is_doubted(url: str, says: str):
    [only] = warnings(issuer=url)
    assert only.startswith(f"config.yaml:1: issuers[0].issuer: {url} is probably no iss of a token: ")
    assert says in only


@pytest.mark.parametrize("tenant", ["contoso.onmicrosoft.com", GUID.upper(), "common"])
def test_a_listed_tenant_that_no_token_names_is_doubted(tenant: str):
    """Entra writes the GUID, in lower case."""
    [only] = warnings(issuer=f"{ENTRA}/{{tenantid}}/v2.0", tenants=[GUID, tenant])
    assert f"{ENTRA}/{tenant}/v2.0 is probably no iss" in only
    assert warnings(issuer=f"{ENTRA}/{{tenantid}}/v2.0", tenants="any") == []


def test_opaque_tokens_of_google_may_be_introspected_by_a_server_of_its_own():
    assert warnings(issuer="https://accounts.google.com", introspection=INTROSPECTION) == []
    assert warnings(issuer="https://accounts.google.com", advertise=False) == []  # service accounts


@pytest.mark.parametrize(
    ("issuer", "count"),
    [
        ({}, 0),
        ({"audience": "https://mcp.example.com/mcp"}, 0),
        ({"audience": f"api://{GUID}"}, 0),
        ({"audience": GUID}, 1),
        ({"audience": ["https://mcp.example.com/mcp", "my-client", "other-client"]}, 2),
        ({"audience": "my-client", "typ": "at+jwt"}, 0),
        ({"audience": "my-client", "introspection": INTROSPECTION}, 0),
    ],
)
def test_an_audience_that_may_be_a_client_asks_for_typ_or_introspection(issuer: dict[str, Any], count: int):
    found = warnings(**issuer)
    assert len(found) == count
    assert all("set typ" in each and "introspection" in each for each in found)
