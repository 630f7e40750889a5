"""Every check of a token, although others fail; and the verdict is the gate's."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import Refusal
from sidecar.workbench.explainer import explain_token
from sidecar.workbench.loading import Loaded, load
from sidecar.workbench.token_report import TokenCheck, TokenReport, report
from tests.cli.support import CONFIG, write
from tests.support.issuer import Signer

ISSUER, RESOURCE = "https://example.com/api/auth", "https://mcp.example.com/mcp"
GUID = "api://0f8fad5b-d9cb-469f-a165-70867728950e"
NOW = int(time.time())
CHECKS = ["form", "alg", "iss", "typ", "cnf", "aud", "iat", "exp", "sub", "client_id", "scope", "signature"]

Reported = Callable[..., TokenReport]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(write(tmp_path_factory.mktemp("token")), serving=False)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer("ES256")


@pytest.fixture
def reported(loaded: Loaded, signer: Signer) -> Reported:
    """Report on a good token with some claims and header parameters changed; None removes one."""

    def make(header: dict[str, Any] | None = None, text: str | None = None, **changes: Any) -> TokenReport:
        claims = {"iss": ISSUER, "aud": RESOURCE, "sub": "alice", "client_id": "app", "iat": NOW, "exp": NOW + 600}
        claims = {name: value for name, value in {**claims, "scope": "read", **changes}.items() if value is not None}
        token = text or signer.sign({"alg": "ES256", "typ": "at+jwt", **(header or {})}, claims)
        verdict = None
        try:
            explain_token(loaded.settings, loaded.policy, token, NOW)
        except Refusal as refusal:
            verdict = refusal
        return report(loaded.settings, loaded.policy, token, NOW, verdict)

    return make


def failed(made: TokenReport) -> dict[str, TokenCheck]:
    return {each.check: each for each in made.checks if each.passed is False}


def test_a_good_token_passes_every_check_but_its_signature_is_not_verified(reported: Reported):
    made = reported()
    assert [each.check for each in made.checks] == CHECKS
    assert [each.check for each in made.checks if not each.passed] == ["signature"]
    assert (made.outcome, made.sentence) == ("ok", None)
    text = str(made)
    assert f"aud        pass  found {RESOURCE}; accepted {RESOURCE}" in text
    assert "=> ok, if its signature holds" in text
    assert "not verified" in text


@pytest.mark.parametrize(
    ("check", "changes", "found", "accepted"),
    [
        ("alg", {"header": {"alg": "HS256"}}, "HS256", "ES256"),
        ("iss", {"iss": f"{ISSUER}/"}, f"{ISSUER}/", ISSUER),
        ("iss", {"iss": None}, "none", ISSUER),
        ("typ", {"header": {"typ": "refresh+jwt"}}, "refresh+jwt", "at+jwt"),
        ("cnf", {"cnf": {"jkt": "x"}}, "jkt", "no cnf"),
        ("aud", {"aud": [GUID]}, GUID, RESOURCE),
        ("aud", {"aud": None}, "", RESOURCE),
        ("iat", {"iat": NOW + 99}, "", ""),
        ("exp", {"exp": NOW - 99, "iat": NOW - 999}, "", ""),
        ("exp", {"exp": None}, "", ""),
        ("nbf", {"nbf": NOW + 99}, "", ""),
    ],
)
def test_each_failure_has_its_values_and_is_the_only_one(
    reported: Reported, check: str, changes: dict[str, Any], found: str, accepted: str
):
    made = reported(**changes)
    only = failed(made)[check]
    assert list(failed(made)) == [check]
    assert found in (only.found or "")
    assert accepted in (only.accepted or "")
    assert made.outcome == "token_invalid"
    assert f"{check:<10} FAIL  {only.says}" in str(made)


def test_no_failure_hides_another(reported: Reported):
    made = reported(
        {"alg": "HS256", "typ": "refresh+jwt"},
        iss="https://other.example",
        aud=GUID,
        cnf={"jkt": "x"},
        iat=NOW + 999,
        nbf=NOW + 999,
        exp=NOW - 999,
    )
    assert {"alg", "iss", "typ", "cnf", "aud", "iat", "nbf", "exp"} <= set(failed(made))
    assert "refresh+jwt" in str(made)
    assert GUID in str(made)


def test_a_token_that_cannot_be_read_has_one_check(reported: Reported):
    made = reported(text="a.b.c")
    assert [(each.check, each.passed) for each in made.checks] == [("form", False)]
    assert made.outcome == "token_invalid"


# Without `sub`, a token is of its client alone.
@pytest.mark.parametrize(
    ("claim", "value"), [("sub", 7), ("sub", " "), ("client_id", None), ("client_id", 7), ("client_id", " ")]
)
def test_a_wrong_name_hides_neither_the_other_nor_the_scopes(reported: Reported, claim: str, value: object):
    made = reported(**{claim: value, "scope": 7})
    assert made.outcome == "token_invalid"
    assert set(failed(made)) == {claim, "scope"}
    assert set(CHECKS) == {each.check for each in made.checks}


def test_a_token_without_a_declared_scope_is_pointed_out(reported: Reported):
    scope = next(each for each in reported(scope="other").checks if each.check == "scope")
    assert scope.passed is None
    assert scope.says == "found other (in scope); declared read reveal"
    absent = next(each for each in reported(scope=None).checks if each.check == "scope")
    assert "no claim scope or scp" in absent.says


def test_no_report_repeats_the_token(reported: Reported, signer: Signer):
    token = signer.sign({"alg": "ES256"}, {"iss": ISSUER})
    made = reported(text=token)
    for part in token.split("."):
        assert part not in str(made) + str(made.document())


def test_a_refusal_that_no_check_explains_is_still_reported(loaded: Loaded, signer: Signer, reported: Reported):
    good = {"iss": ISSUER, "aud": RESOURCE, "sub": "a", "client_id": "b", "iat": NOW, "exp": NOW + 60, "scope": "read"}
    token = signer.sign({"alg": "ES256", "typ": "at+jwt"}, good)
    with pytest.raises(Refusal) as refused:
        explain_token(loaded.settings, loaded.policy, "a.b.c", NOW)
    made = report(loaded.settings, loaded.policy, token, NOW, refused.value)
    assert made.checks[-1].passed is False
    assert made.outcome == "token_invalid"


CLIENTS = 'audience: {client_ids: [app], aud: absent}, scope_prefix: "x/", claims: {scopes: [scope, a.roles]}'


def of_config(tmp_path: Path, signer: Signer, claims: dict[str, Any], more: str) -> dict[str, TokenCheck]:
    """Report on a token by an issuer with more settings; the checks by name."""
    loaded = load(write(tmp_path, config=CONFIG.replace('auth"}', f'auth", {more}}}')), serving=False)
    token = signer.sign({"alg": "ES256", "typ": "at+jwt"}, claims)
    made = report(loaded.settings, loaded.policy, token, NOW, None)
    return {each.check: each for each in made.checks}


def test_the_path_of_the_scopes_and_the_accepted_clients_are_named(tmp_path: Path, signer: Signer):
    claims = {"iss": ISSUER, "sub": "a", "client_id": "app", "iat": NOW, "exp": NOW + 60, "scope": "openid"}
    made = of_config(tmp_path, signer, {**claims, "a": {"roles": ["x/read", "admin"]}}, CLIENTS)
    assert made["scope"].says == "found admin read (in a.roles); declared read reveal"
    assert made["aud"].says == "found none; accepted no aud from the client app"
    other = of_config(tmp_path, signer, {**claims, "client_id": "other"}, CLIENTS)
    assert other["aud"].passed is False
    assert other["scope"].passed is None


def test_granted_scopes_are_named_as_such(tmp_path: Path, signer: Signer):
    claims = {"iss": ISSUER, "aud": RESOURCE, "sub": "a", "client_id": "app", "iat": NOW, "exp": NOW + 60}
    made = of_config(tmp_path, signer, claims, "grants: [{all: true, scopes: [read]}]")
    assert made["scope"].passed is True
    assert "granted by the config: read" in made["scope"].says


def test_a_token_is_judged_by_the_settings_of_its_tenant(tmp_path: Path, signer: Signer):
    tenant, url = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490", "https://login.microsoftonline.com/{}/v2.0"
    config = CONFIG.replace('{issuer: "https://example.com/api/auth"}', f'{{issuer: "{url}", tenants: any}}')
    loaded = load(write(tmp_path, config=config.replace("{}", "{tenantid}")), serving=False)
    claims = {"aud": RESOURCE, "sub": "ada", "client_id": "app", "iat": NOW, "exp": NOW + 60, "scope": "read"}
    token = signer.sign({"alg": "ES256", "typ": "at+jwt"}, {**claims, "iss": url.format(tenant)})
    assert explain_token(loaded.settings, loaded.policy, token, NOW).account == f"{tenant}/ada"
    made = {each.check: each for each in report(loaded.settings, loaded.policy, token, NOW, None).checks}
    assert made["iss"].passed is True
    assert made["sub"].found == f"{tenant}/ada"
    assert not [each for each in made.values() if each.passed is False]
