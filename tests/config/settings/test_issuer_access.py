"""Keys of an issuer's tenants, of its key set, and of the way to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from sidecar.config.documents.merging import DocumentError, parse
from sidecar.config.settings.settings import IssuerSettings, settings_of
from sidecar.config.settings.settings_schema import settings_schema

ENTRA = "https://login.microsoftonline.com/{tenantid}/v2.0"
GUID = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490"
PLAIN = {"issuer": "https://i.example"}
ASKED = {"url": "https://i.example/introspect", "client_id": "a", "client_secret": "b"}
SCHEMA = jsonschema_rs.validator_for(settings_schema())


def document(*issuers: dict[str, Any]) -> dict[str, Any]:
    backend = {"url": "http://127.0.0.1:8000/mcp"}
    return {"resource": "https://mcp.example.com/mcp", "backend": backend, "issuers": list(issuers)}


def issuer(**keys: Any) -> IssuerSettings:
    written = parse("config.yaml", json.dumps(document({**PLAIN, **keys})))
    return settings_of(written, Path("/etc/sidecar")).issuers[0]


def problems(*issuers: dict[str, Any]) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        settings_of(parse("config.yaml", json.dumps(document(*issuers))))
    return [str(each).partition(": ")[2] for each in caught.value.problems]


@pytest.mark.parametrize(
    "keys",
    [
        {"issuer": ENTRA, "tenants": "any"},
        {"issuer": ENTRA, "tenants": [GUID, "contoso.onmicrosoft.com", "a"]},
        {"issuer": "https://sts.windows.net/{tenantid}/", "tenants": [GUID]},
        {"issuer": "https://kc.example/realms/{tenantid}", "tenants": ["a-b"]},
        {"issuer": ENTRA, "tenants": "any", "advertise": "https://as.example"},
        {"jwks": {"file": "keys.json"}},
        {"tls": {"ca": "ca.pem"}},
        {"advertise": False},
        {"advertise": "https://as.example/x"},
        {"issuer": "http://keycloak:8080/realms/a", "insecure_http": True},
        {"jwks_uri": "http://keys/jwks", "insecure_http": True},
        {"introspection": {**ASKED, "url": "http://i/x"}, "insecure_http": True},
    ],
)
def test_accepted_keys(keys: dict[str, Any]):
    issuer(**keys)
    SCHEMA.validate(document({**PLAIN, **keys}))


def test_files_are_relative_to_the_config():
    given = issuer(jwks={"file": "keys.json"}, tls={"ca": "/ca.pem"})
    assert given.jwks is not None
    assert given.tls is not None
    assert (given.jwks.file, given.tls.ca) == (Path("/etc/sidecar/keys.json"), Path("/ca.pem"))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"issuer": ENTRA}, "issuers[0].issuer: {tenantid} without tenants; accepted: tenants: any, or a list"),
        ({"tenants": "any"}, "issuers[0].tenants: not used without {tenantid} in issuer"),
        ({"issuer": ENTRA, "tenants": "all"}, "issuers[0].tenants: neither any nor a list of tenants"),
        ({"issuer": ENTRA, "tenants": []}, "issuers[0].tenants: neither any nor a list of tenants"),
        ({"issuer": ENTRA, "tenants": ["a"] * 65}, "issuers[0].tenants: neither any nor a list of tenants"),
        ({"issuer": ENTRA, "tenants": ["a", "b/c"]}, "issuers[0].tenants[1]: not a tenant"),
        ({"issuer": ENTRA, "tenants": ["a" * 65]}, "issuers[0].tenants[0]: not a tenant"),
        ({"issuer": ENTRA, "tenants": [7]}, "issuers[0].tenants[0]: not a tenant"),
        ({"issuer": ENTRA, "tenants": ["a", "a"]}, "issuers[0].tenants[1]: given twice"),
        (
            {"issuer": "https://{tenantid}.example", "tenants": "any"},
            "issuers[0].issuer: {tenantid} is not one whole segment of the path",
        ),
        (
            {"issuer": "https://i.example/a{tenantid}", "tenants": "any"},
            "issuers[0].issuer: {tenantid} is not one whole segment of the path",
        ),
        ({"issuer": "https://i.example/{tenantid}/{tenantid}", "tenants": "any"}, "issuers[0].issuer: not a URL"),
        ({"issuer": "https://i.example/{tenant}", "tenants": "any"}, "issuers[0].issuer: not a URL"),
        ({"issuer": ENTRA, "tenants": "any", "introspection": ASKED}, "issuers[0].introspection: an answer about"),
        ({"jwks": {"file": "a"}, "jwks_uri": "https://a/k"}, "issuers[0].jwks: set together with jwks_uri"),
        ({"jwks": {}}, "issuers[0].jwks.file: required but missing"),
        ({"tls": {"ca": "a", "cert": "b"}}, "issuers[0].tls.cert: unknown key"),
        ({"issuer": "http://127.0.0.1", "tls": {"ca": "a"}}, "issuers[0].tls: not used with http:// URLs"),
        ({"insecure_http": True}, "issuers[0].insecure_http: not used without an http:// URL"),
        ({"insecure_http": "yes"}, "issuers[0].insecure_http: "),
        (
            {"issuer": "http://i.example"},
            "issuers[0].issuer: http:// to another machine; accepted: https://, http:// to",
        ),
        ({"advertise": "http://i.example"}, "issuers[0].advertise: http:// to another machine"),
        ({"advertise": ENTRA}, "issuers[0].advertise: neither false nor a URL"),
        ({"advertise": "https://i.example?x"}, "issuers[0].advertise: a URL with a query"),
        ({"advertise": 7}, "issuers[0].advertise: neither false nor a URL"),
    ],
)
def test_mistakes_are_described(keys: dict[str, Any], problem: str):
    (found,) = problems({**PLAIN, **keys})
    assert found.startswith(problem)


def test_two_issuers_do_not_share_a_tenant():
    own = {"issuer": ENTRA.replace("{tenantid}", GUID), "id": "a"}
    (found,) = problems(own, {"issuer": ENTRA, "tenants": ["b", GUID], "id": "b"})
    assert found.startswith("issuers[1].issuer: given twice, first as issuers[0]")
