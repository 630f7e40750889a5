"""`explain` and `schema`: what authors of policies ask."""

import time
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from tests.cli.support import CONFIG, POLICY, TWO_ISSUERS, Run, write
from tests.support.issuer import Signer

REVEAL = ("explain", "--tool", "reveal", "--arguments", '{"ids": ["a", "b"], "ok": true}')


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


def test_an_allowed_call(run: Run, here: Path) -> None:
    result = run(*REVEAL, "--scopes", "reveal", "--plan", "growth", "--client", "c", "--account", "a")
    assert (result.status, result.err) == (0, "")
    assert "=> allow" in result.out
    assert "policies/p.yaml:" in result.out
    told = run(*REVEAL, "--scopes", "read reveal", "--plan", "growth", "--format", "json").json
    assert told["outcome"] == "allow"
    assert told["caller"]["scopes"] == ["read", "reveal"]
    assert [(each["name"], each["needed"]) for each in told["price"]] == [("requests", 1), ("contact", 2), ("email", 0)]


def test_a_refused_call_was_explained_all_the_same(run: Run, here: Path) -> None:
    result = run(*REVEAL, "--scopes", "read", "--plan", "growth")
    assert result.status == 0
    assert "=> insufficient_scope (HTTP 403, challenge)" in result.out
    assert "a challenge asks for: reveal read" in result.out


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("--arguments", "[]"), "--arguments must be a JSON object"),
        (("--arguments", "{"), "--arguments must be a JSON object"),
        (("--arguments", '{"a": 1, "a": 2}'), "--arguments must be a JSON object"),
        (("--plan", "none"), "there is no plan 'none': free, growth"),
        (("--token-file", "x", "--scopes", "read"), "--token-file says all of the caller: not beside --scopes"),
        (("--token-file", "x", "--plan", "free"), "--token-file says all of the caller: not beside --plan"),
        (("--issuer", "none"), "there is no issuer 'none': --issuer one of main"),
    ],
)
def test_what_cannot_be_explained_is_2(run: Run, here: Path, words: tuple[str, ...], wrong: str) -> None:
    result = run("explain", "--tool", "search", *words)
    assert (result.status, result.out) == (2, "")
    assert wrong in result.err


OTHERS = """
resources: {"docs://*": {scopes: [read], uses: {requests: 1}}}
prompts: {greet: {scopes: []}}
methods: {completion/complete: {scopes: []}}
"""


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        (("--resource", "docs://a"), "allow"),
        (("--resource", "docs://a/../b"), "params_malformed"),
        (("--prompt", "greet", "--arguments", '{"who": "you"}'), "allow"),
        (("--prompt", "other"), "prompt_unknown"),
        (("--method", "completion/complete", "--prompt", "greet"), "allow"),
        (("--method", "completion/complete", "--resource", "docs://{x}"), "allow"),
        (("--method", "logging/setLevel"), "method_not_allowed"),
    ],
)
def test_what_is_no_tool(run: Run, here: Path, words: tuple[str, ...], outcome: str) -> None:
    write(here, policy=POLICY + OTHERS)
    told = run("explain", *words, "--scopes", "read", "--format", "json").json
    assert told["outcome"] == outcome
    assert set(told["call"].values()) <= set(words)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ((), "the call: names nothing to call; accepted: tool, resource, prompt or method"),
        (("--tool", "search", "--prompt", "greet"), "the call: names tool and prompt; accepted: one of them"),
        (("--tool", "search", "--method", "ping"), "the call: a tool is called by its name"),
        (("--method", "resources/read"), "the call: does not say what resources/read is about; accepted: resource"),
        (("--method", "ping", "--prompt", "greet"), "the call: ping is about no prompt; accepted: the method alone"),
        (("--resource", "docs://a", "--arguments", '{"a": 1}'), "the call: gives arguments to what takes none"),
    ],
)
def test_what_is_no_call_is_2(run: Run, here: Path, words: tuple[str, ...], wrong: str) -> None:
    result = run("explain", *words)
    assert (result.status, result.out) == (2, "")
    assert wrong in result.err


def test_a_token_s_own_claims(run: Run, here: Path) -> None:
    signer, header = Signer("ES256"), {"alg": "ES256", "typ": "at+jwt"}
    now = int(time.time())
    claims = {
        "iss": "https://example.com/api/auth",
        "aud": "https://mcp.example.com/mcp",
        "sub": "alice",
        "client_id": "app",
        "iat": now,
        "exp": now + 600,
        "scope": "read",
    }
    (here / "token").write_text(signer.sign(header, claims) + "\n")
    told = run("explain", "--tool", "search", "--token-file", "token", "--format", "json").json
    assert told["outcome"] == "allow"
    assert (told["caller"]["account"], told["caller"]["client_id"]) == ("alice", "app")
    (here / "token").write_text(signer.sign(header, {**claims, "aud": "https://other.example.com"}))
    result = run("explain", "--tool", "search", "--token-file", "token")
    assert result.status == 0
    assert "=> token_invalid (HTTP 401, challenge)" in result.out
    assert "issued for another resource" in result.out


def test_a_token_that_cannot_be_read(run: Run, here: Path) -> None:
    result = run("explain", "--tool", "search", "--token-file", "none")
    assert (result.status, result.err) == (1, "mcp-sidecar: none cannot be read: No such file or directory\n")
    (here / "token").write_text("not a token")
    assert "it is not a signed JWT" in run("explain", "--tool", "search", "--token-file", "token").out


def test_an_opaque_token_is_not_guessed_at(run: Run, here: Path) -> None:
    asked = 'introspection: {url: "https://a/introspect", client_id: side, client_secret: hunter2}'
    write(here, config=CONFIG.replace('auth"}', f'auth", {asked}}}'))
    (here / "token").write_text("opaque-token\n")
    result = run("explain", "--tool", "search", "--token-file", "token")
    assert result.status == 1
    assert "--account, --client and --scopes" in result.err
    assert "opaque-token" not in result.out + result.err
    (here / "token").write_text("a.b.c")
    assert "it is not a well-formed JWT" in run("explain", "--tool", "search", "--token-file", "token").out


def test_one_of_several_issuers(run: Run, here: Path) -> None:
    write(here, config="\n".join([*(CONFIG.splitlines()[:2]), TWO_ISSUERS, ""]))
    told = run("explain", "--tool", "search", "--issuer", "b", "--format", "json").json
    assert told["caller"]["issuer"] == "b"


# --- schema ------------------------------------------------------------------------------------


def test_schemas_accept_the_files_they_are_for(run: Run, here: Path) -> None:
    for document, text in (("config", CONFIG.replace("STORE", "embedded")), ("policy", POLICY + OTHERS)):
        result = run("schema", document)
        assert result.status == 0
        validator = jsonschema_rs.Draft202012Validator(result.json)
        assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []
        assert not validator.is_valid({"nonsense": 1})


def test_schemas_offer_nothing_that_is_not_enforced(run: Run) -> None:
    config, policy = (run("schema", document).out for document in ("config", "policy"))
    assert '"const": 1' in config  # workers
    for word in ("shadow", "mode"):
        assert f'"{word}"' not in policy
