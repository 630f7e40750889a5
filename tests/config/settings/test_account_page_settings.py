"""`account_page`: its path, its issuer, and the redirect URI that an operator registers."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from sidecar.config.documents.merging import DocumentError, parse
from sidecar.config.settings.account_page_settings import AccountPageSettings
from sidecar.config.settings.settings import Settings, settings_of

ISSUER = "https://example.com/api/auth"


def settings(page: dict[str, Any], **changes: Any) -> Settings:
    made = {
        "resource": "https://mcp.example.com/mcp",
        "backend": {"url": "http://127.0.0.1:8000/mcp"},
        "issuers": [{"issuer": ISSUER}],
        "account_page": {"client_id": "page", **page},
        **changes,
    }
    return settings_of(parse("config.yaml", yaml.safe_dump(made)))


def page_of(page: dict[str, Any], **changes: Any) -> AccountPageSettings:
    found = settings(page, **changes).account_page
    assert found is not None
    return found


def test_the_addresses_are_derived_from_the_resource():
    page = page_of({})
    assert page.url("https://mcp.example.com/mcp") == "https://mcp.example.com/account"
    assert page.redirect_uri("https://mcp.example.com/mcp") == "https://mcp.example.com/account/callback"
    assert (page.requested, page_of({"scopes": ["org", "openid"]}).requested) == (("openid",), ("openid", "org"))


def test_there_is_no_page_by_default():
    assert Settings.model_fields["account_page"].default is None


def test_the_secret_is_never_shown():
    assert "hunter2" not in repr(settings({"client_secret": "hunter2"}))


@pytest.mark.parametrize("path", ["/account", "/me/account", "/a.b-c_d~e", "/mcp2", "/MCP"])
def test_another_path_than_that_of_the_resource_is_accepted(path: str):
    assert page_of({"path": path}).path == path


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("account", "not a path"),
        ("/", "not a path"),
        ("/account/", "not a path"),
        ("//account", "not a path"),
        ("/a/../b", "not a path"),
        ("/.hidden", "not a path"),
        ("/a?b", "not a path"),
        ("/a#b", "not a path"),
        ("/%61", "not a path"),
        ("/é", "not a path"),
        ("/mcp", "overlaps the path of `resource`"),
        ("/mcp/account", "overlaps the path of `resource`"),
    ],
)
def test_other_paths_are_refused(path: str, wrong: str):
    with pytest.raises(DocumentError) as refused:
        settings({"path": path})
    [problem] = refused.value.problems
    assert problem.path == "account_page.path"
    assert wrong in str(problem)


def test_a_resource_below_the_page_is_refused():
    with pytest.raises(DocumentError, match="overlaps the path of `resource`"):
        settings({}, resource="https://mcp.example.com/account/mcp")


def test_a_resource_without_a_path_leaves_room():
    assert page_of({}, resource="https://mcp.example.com/").path == "/account"


TWO = [{"issuer": ISSUER, "id": "one"}, {"issuer": "https://two.example", "id": "two"}]


def test_one_of_several_issuers_is_named():
    found = settings({"issuer": "two"}, issuers=TWO)
    assert found.account_page is not None
    assert found.account_page.issuer_of(found.issuers).id == "two"


@pytest.mark.parametrize(
    ("page", "issuers", "words"),
    [
        ({}, TWO, "missing, although there are several issuers; accepted: one of one, two"),
        ({"issuer": "three"}, TWO, "not the id of an issuer; accepted: one of one, two"),
        (
            {},
            [{"issuer": ISSUER, "introspection": {"url": f"{ISSUER}/i", "client_id": "a", "client_secret": "b"}}],
            "an issuer without keys",
        ),
    ],
)
def test_other_issuers_are_refused(page: dict[str, Any], issuers: list[Any], words: str):
    with pytest.raises(DocumentError, match=words):
        settings(page, issuers=issuers)
