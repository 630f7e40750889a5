from __future__ import annotations

import re

import pytest

from sidecar.errors import ErrorCode
from sidecar.identity.invalid_token import invalid
from sidecar.proxy.listener.documents import MAX_DESCRIPTION, challenge, metadata_paths, metadata_url, resource_metadata

RESOURCE = "https://mcp.example.com/mcp"
ROOT = "/.well-known/oauth-protected-resource"


@pytest.mark.parametrize(
    ("resource", "paths", "url"),
    [
        (RESOURCE, (f"{ROOT}/mcp", ROOT), f"https://mcp.example.com{ROOT}/mcp"),
        ("https://h.example", (ROOT,), f"https://h.example{ROOT}"),
        ("https://h.example/", (ROOT,), f"https://h.example{ROOT}"),
        ("https://h.example:8443/a/b/", (f"{ROOT}/a/b/", ROOT), f"https://h.example:8443{ROOT}/a/b/"),
        ("http://127.0.0.1:8080/mcp", (f"{ROOT}/mcp", ROOT), f"http://127.0.0.1:8080{ROOT}/mcp"),
    ],
)
def test_the_document_is_at_the_inserted_path_and_the_root(resource: str, paths: tuple[str, ...], url: str):
    assert metadata_paths(resource) == paths
    assert metadata_url(resource) == url


def test_the_document_says_where_tokens_come_from():
    issuers = ["https://a.example", "https://b.example/x"]
    assert resource_metadata(RESOURCE, issuers, ["usage:read", "offline_access"]) == {
        "resource": RESOURCE,
        "authorization_servers": issuers,
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["usage:read"],
    }


def test_scopes_are_left_out_where_there_are_none():
    assert "scopes_supported" not in resource_metadata(RESOURCE, ["https://a.example"], [])


def test_servers_are_left_out_where_none_is_advertised():
    assert "authorization_servers" not in resource_metadata(RESOURCE, [], [])


def test_without_a_token_there_is_no_error():
    assert challenge(ErrorCode.TOKEN_MISSING, RESOURCE, ["usage:read", "stores:read"], "Log in.") == (
        f'Bearer resource_metadata="https://mcp.example.com{ROOT}/mcp", scope="usage:read stores:read"'
    )


def test_a_bad_token_is_named_invalid():
    assert challenge(ErrorCode.TOKEN_INVALID, RESOURCE, ["usage:read"], "It has expired.") == (
        f'Bearer error="invalid_token", resource_metadata="https://mcp.example.com{ROOT}/mcp", '
        'scope="usage:read", error_description="It has expired."'
    )


def test_a_missing_scope_is_named_insufficient():
    text = challenge(ErrorCode.INSUFFICIENT_SCOPE, RESOURCE, ["contacts:reveal", "contacts:reveal"], "More is needed.")
    assert text.startswith('Bearer error="insufficient_scope", ')
    assert 'scope="contacts:reveal"' in text


def test_a_revoked_consent_looks_like_a_bad_token():
    assert 'error="invalid_token"' in challenge(ErrorCode.CONSENT_REVOKED, RESOURCE, [], "Approve it again.")


def test_without_scopes_none_are_asked_for():
    assert "scope=" not in challenge(ErrorCode.TOKEN_INVALID, RESOURCE, [], "No.")


def test_what_cannot_stand_in_a_header_does_not():
    scopes = ["ok", 'a"b', "a b", "a\r\nX: y", "", "é", "offline_access"]
    text = challenge(ErrorCode.TOKEN_INVALID, RESOURCE, scopes, 'a "quoted" \\ é\r\nX: y scope="evil" end')
    assert re.fullmatch(r"[\x20-\x7e]+", text)
    assert 'scope="ok"' in text
    assert text.endswith("""error_description="a 'quoted' ' '''X: y scope''evil' end\"""")


def test_a_description_names_the_value_of_the_token_that_was_wrong():
    refusal = invalid("its aud is not accepted", check="aud", found="https://other.example", accepted=[RESOURCE])
    assert challenge(refusal.code, RESOURCE, [], refusal.detail).endswith(
        'error_description="The access token is not valid here: its aud is not accepted '
        f'(found https://other.example; accepted {RESOURCE})."'
    )


@pytest.mark.parametrize(
    "value",
    [
        '", scope="admin',
        "\r\nSet-Cookie: a=b",
        "\\",
        "é" * 300,
        "\x7f\x00",
        '"' * 200,
        "x" * 9999,
        {"a": ['"']},
        "\ud800",
    ],
)
def test_no_value_of_a_token_can_break_a_challenge(value: object):
    refusal = invalid("its aud is not accepted", check="aud", found=value, accepted=[value] * 9)
    text = challenge(refusal.code, RESOURCE, ["ok"], refusal.detail)
    parameters = re.fullmatch(
        r'Bearer error="[^"]*", resource_metadata="[^"]*", scope="ok", error_description="(.*)"', text
    )
    assert parameters is not None
    # RFC 6750 section 3, and no `=`.
    assert re.fullmatch(r"[\x20-\x21\x23-\x3c\x3e-\x5b\x5d-\x7e]+", parameters[1])
    assert "found " in parameters[1]
    assert len(parameters[1]) <= MAX_DESCRIPTION


@pytest.mark.parametrize("name", ["error", "resource_metadata", "scope"])
def test_clients_that_search_for_the_first_name_find_the_right_one(name: str):
    """Both SDKs use such an expression instead of a parser."""
    text = challenge(ErrorCode.TOKEN_INVALID, RESOURCE, ["stores:read"], "scope=evil, error=x, resource_metadata=y")
    found = re.search(rf'{name}=(?:"([^"]+)"|([^\s,]+))', text)
    assert found is not None
    assert found[1] in ("invalid_token", metadata_url(RESOURCE), "stores:read")
