from pathlib import Path

import pytest

from sidecar.config.documents.merging import DocumentError
from sidecar.workbench.loading import load
from tests.cli.support import CONFIG, POLICY, write


def config(line: str) -> str:
    issuer = 'issuers: [{issuer: "https://example.com/api/auth"}]'
    assert issuer in CONFIG
    return CONFIG.replace(issuer, f'issuers:\n  - issuer: "https://example.com/api/auth"\n    {line}').replace(
        "STORE", "redis://127.0.0.1"
    )


def problems(folder: Path, line: str, policy: str = POLICY) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load(write(folder, config=config(line), policy=policy), {})
    return [str(each).removeprefix(f"{folder}/") for each in caught.value.problems]


def notices(folder: Path, line: str, policy: str = POLICY) -> list[str]:
    loaded = load(write(folder, config=config(line), policy=policy), {})
    return [str(each).removeprefix(f"{folder}/") for each in loaded.notices]


def test_an_undeclared_scope_in_grants_is_a_problem_at_its_place(tmp_path):
    assert problems(tmp_path, "grants: [{all: true, scopes: read}, {clients: x, scopes: [read, raed]}]") == [
        "config.yaml:5:69: issuers[0].grants[1].scopes[1]: no policy file declares this scope; accepted: read, reveal; "
        "found: 'raed'; did you mean read?"
    ]
    assert problems(tmp_path, "grants: [{all: true, scopes: raed}]") == [
        "config.yaml:5:34: issuers[0].grants[0].scopes[0]: no policy file declares this scope; accepted: read, reveal; "
        "found: 'raed'; did you mean read?"
    ]


def test_a_prefix_that_the_policy_has_already_is_a_problem(tmp_path):
    policy = POLICY.replace("scopes: {read: Read.", "scopes: {api/write: Write., read: Read.")
    assert problems(tmp_path, "scope_prefix: api/", policy) == [
        "config.yaml:5:19: issuers[0].scope_prefix: the policy declares 'api/write', which has this prefix already; "
        "accepted: scopes without it in the policy, or no prefix; found: 'api/'"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "audience: [api, other]",
        "scope_prefix: api/",
        "claims: {scopes: [scope, realm_access.roles]}",
        "grants: [{all: true, scopes: [read, reveal]}]",
    ],
)
def test_sound_settings_cause_no_warning(tmp_path, line: str):
    assert notices(tmp_path, line) == []


def test_tokens_that_are_bound_to_nothing_are_warned_of(tmp_path):
    (found,) = notices(tmp_path, "audience: {client_ids: [abs, cli-2], aud: absent}")
    assert found.startswith("config.yaml:5: tokens without aud are bound to no resource: every server that gets one ")
    assert "from abs, cli-2 can use it here. Clients that register themselves cannot be listed" in found
    (found,) = notices(tmp_path, "audience: {client_ids: cli-1, aud: [account, api]}")
    assert found.startswith("config.yaml:5: tokens with aud account or api are bound to no resource")


def test_an_aud_that_id_tokens_have_too_is_warned_of(tmp_path):
    found = notices(tmp_path, "audience: {client_ids: [cli-1], aud: [cli-1]}")
    assert (
        found[1]
        == "config.yaml:5: aud cli-1 is also that of the client's ID tokens; set typ if access tokens have their own"
    )


def test_base_scopes_that_no_login_gives_are_warned_of(tmp_path):
    policy = POLICY + "base_scopes: [read, reveal]\n"
    assert notices(tmp_path, "grants: [{clients: batch, scopes: reveal}]", policy) == [
        "config.yaml:5: base scope 'reveal' is in grants, so the first login at main does not request it"
    ]


@pytest.mark.parametrize(
    ("issuer", "resource", "warned"),
    [
        ("http://127.0.0.1:9000/api/auth", "https://mcp.example.com/mcp", True),
        ("https://localhost:9000", "https://mcp.example.com/mcp", True),
        ("http://127.0.0.1:9000/api/auth", "http://localhost:8080/mcp", False),
        ("https://example.com/api/auth", "https://mcp.example.com/mcp", False),
    ],
)
def test_an_issuer_on_loopback_with_a_public_resource_is_a_warning(tmp_path, issuer, resource, warned):
    text = config("id: main").replace("https://example.com/api/auth", issuer)
    text = text.replace("https://mcp.example.com/mcp", resource)
    assert resource in text
    loaded = load(write(tmp_path, config=text), {})
    assert ["is on loopback and the resource" in str(each) for each in loaded.notices] == [True] * warned
