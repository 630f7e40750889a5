"""`explain` and `schema`: what authors of policies ask."""

import io
import json
import re
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
    result = run(*REVEAL, "--scopes", "reveal", "--plan", "growth", "--client", "c", "--account", "a", "--offline")
    assert (result.status, result.err) == (0, "")
    assert "=> allow" in result.out
    assert "policies/p.yaml:" in result.out
    output = run(*REVEAL, "--scopes", "read reveal", "--plan", "growth", "--format", "json").json
    assert output["outcome"] == "allow"
    assert output["caller"]["scopes"] == ["read", "reveal"]
    assert [(each["name"], each["needed"]) for each in output["price"]] == [
        ("requests", 1),
        ("contact", 2),
        ("email", 0),
    ]


def test_a_refused_call_was_explained_all_the_same(run: Run, here: Path) -> None:
    result = run(*REVEAL, "--scopes", "read", "--plan", "growth")
    assert result.status == 0
    assert "=> insufficient_scope (HTTP 403, challenge)" in result.out
    assert "a challenge requests: reveal read" in result.out


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("--arguments", "[]"), "--arguments must be a JSON object"),
        (("--arguments", "{"), "--arguments must be a JSON object"),
        (("--arguments", '{"a": 1, "a": 2}'), "--arguments must be a JSON object"),
        (("--plan", "none"), "there is no plan 'none': free, growth"),
        (("--token-file", "x", "--scopes", "read"), "--token-file describes the whole caller: use it without --scopes"),
        (("--token-file", "x", "--plan", "free"), "--token-file describes the whole caller: use it without --plan"),
        (("--issuer", "none"), "there is no issuer 'none': use --issuer with one of main"),
        (("--account", "a", "--client", "c", "--plan", "free"), "the store has the plan of --account"),
        (("--account", "a"), "the store has consents by client: add --client"),
        (("--request-id", "x"), "a past call needs both --request-id and --log"),
        (("--log", "x"), "a past call needs both --request-id and --log"),
        (("--request-id", "x", "--log", "y"), "--request-id names a whole call: use it without --tool"),
    ],
)
def test_a_wrong_command_line_of_explain_is_2(run: Run, here: Path, words: tuple[str, ...], wrong: str) -> None:
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
    output = run("explain", *words, "--scopes", "read", "--format", "json").json
    assert output["outcome"] == outcome
    assert set(output["call"].values()) <= set(words)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ((), "the call: names nothing to call; accepted: tool, resource, prompt or method"),
        (("--tool", "search", "--prompt", "greet"), "the call: names tool and prompt; accepted: one of them"),
        (("--tool", "search", "--method", "ping"), "the call: a tool is called by its name"),
        (("--method", "resources/read"), "the call: does not say what resources/read refers to; accepted: resource"),
        (("--method", "ping", "--prompt", "greet"), "the call: ping takes no prompt; accepted: the method alone"),
        (
            ("--resource", "docs://a", "--arguments", '{"a": 1}'),
            "the call: has arguments although its method takes none",
        ),
    ],
)
def test_an_invalid_call_is_2(run: Run, here: Path, words: tuple[str, ...], wrong: str) -> None:
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
    output = run("explain", "--tool", "search", "--token-file", "token", "--offline", "--format", "json").json
    assert output["outcome"] == "allow"
    assert (output["caller"]["account"], output["caller"]["client_id"]) == ("alice", "app")
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
    assert "its header is empty or not base64url" in run("explain", "--tool", "search", "--token-file", "token").out


def test_one_of_several_issuers(run: Run, here: Path) -> None:
    write(here, config="\n".join([*(CONFIG.splitlines()[:2]), TWO_ISSUERS, ""]))
    output = run("explain", "--tool", "search", "--issuer", "b", "--format", "json").json
    assert output["caller"]["issuer"] == "b"


# --- schema ------------------------------------------------------------------------------------


def test_schemas_accept_the_files_they_are_for(run: Run, here: Path) -> None:
    for document, text in (("config", CONFIG.replace("STORE", "embedded")), ("policy", POLICY + OTHERS)):
        result = run("schema", document)
        assert result.status == 0
        validator = jsonschema_rs.Draft202012Validator(result.json)
        assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []
        assert not validator.is_valid({"nonsense": 1})


def timeless(checks: object) -> str:
    """Return checks without their times, which name the second of each command as a date or a number."""
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|\b\d{10}\b", "TIME", json.dumps(checks))


def test_a_token_alone_is_reported_check_by_check(run: Run, here: Path) -> None:
    claims = {"iss": "https://example.com/api/auth", "aud": "https://other.example.com", "exp": 1, "iat": 0}
    (here / "token").write_text(Signer("ES256").sign({"alg": "ES256", "typ": "JWT"}, claims))
    result = run("explain", "--token-file", "token")
    assert result.status == 0
    assert "aud        FAIL  it was issued for another resource" in result.out
    assert "exp        FAIL" in result.out
    output = run("explain", "--token-file", "token", "--format", "json").json
    by_name = {each["check"]: each for each in output["checks"]}
    assert (by_name["aud"]["passed"], by_name["aud"]["found"]) == (False, "https://other.example.com")
    assert by_name["aud"]["accepted"] == "https://mcp.example.com/mcp"
    assert by_name["iss"]["passed"] is True
    with_call = run("explain", "--tool", "search", "--token-file", "token", "--format", "json").json
    assert timeless(with_call["token"]["checks"]) == timeless(output["checks"])
    assert [step["question"] for step in with_call["steps"]] == [each["check"] for each in output["checks"]]


# --- past calls --------------------------------------------------------------------------------

PAST = {
    "ts": "2026-11-23T06:47:08.369Z",
    "event": "call",
    "request_id": "r-1",
    "issuer": "https://example.com/api/auth",
    "account": "ada",
    "client_id": "app",
    "tool": "search",
    "code": "arguments_refused",
    "gate": "policy",
    "rule": "policies/p.yaml:12",
    "http_status": 200,
    "detail": {"argument": "arguments.limit", "keyword": "maximum", "arguments": "limit must be at most 10."},
}


def test_a_past_call_is_explained_from_the_log(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = run("check", "--format", "json").json["revision"]
    text = json.dumps({**PAST, "revision": revision}) + "\n"
    (here / "log").write_text(text)
    result = run("explain", "--request-id", "r-1", "--log", "log")
    assert (result.status, result.err) == (0, "")
    assert "FAIL  arguments_refused: argument arguments.limit, keyword maximum" in result.out
    assert f"policies/p.yaml:12: {POLICY.splitlines()[11].strip()}" in result.out
    output = run("explain", "--request-id", "r-1", "--log", "log", "--format", "json").json
    assert output["detail"] == PAST["detail"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run("explain", "--request-id", "r-1", "--log", "-").out == result.out
    (here / "policies" / "p.yaml").write_text("tools: [")
    assert "note: the policy on disk does not load" in run("explain", "--request-id", "r-1", "--log", "log").out


def test_a_past_call_that_the_log_does_not_have_is_1(run: Run, here: Path) -> None:
    (here / "log").write_text("{}\n")
    result = run("explain", "--request-id", "r-2", "--log", "log")
    assert (result.status, result.out) == (1, "")
    assert "log has no line of request r-2 among 1 lines" in result.err
    result = run("explain", "--request-id", "r-2", "--log", "none")
    assert result.err == "mcp-sidecar: none cannot be read: No such file or directory\n"
