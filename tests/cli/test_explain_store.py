"""`explain` for an account in the store: what the store refuses is explained as refused, and nothing is written."""

import time
from pathlib import Path

import pytest

from sidecar.model import AmountKind, Application, Caller, Demand, Depth, OnUnknown
from sidecar.policy.rules import Policy
from sidecar.store.commands import scripts
from sidecar.workbench.loading import load
from tests.cli.support import CONFIG, TWO_ISSUERS, Run, write
from tests.support.issuer import Signer
from tests.support.store import StoreServer

REVEAL = ("--tool", "reveal", "--arguments", '{"ids": ["x", "y"], "ok": true}', "--scopes", "reveal")
SEARCH = ("--tool", "search", "--scopes", "read")
PARTY = ("--account", "ada", "--client", "app")


def contents(server: StoreServer) -> dict[str, tuple[object, object]]:
    """Every key with its serialized value and its expiry."""
    client = server.client()
    with client:
        names = sorted(client.scan_iter())
        client.connection_pool.connection_kwargs["decode_responses"] = False
    with server.client() as raw:
        raw.connection_pool.connection_kwargs["decode_responses"] = False
        return {name: (raw.execute_command("DUMP", name), raw.execute_command("PEXPIRETIME", name)) for name in names}


@pytest.fixture
def ada(run: Run, config: Path) -> Path:
    """An account on the plan growth with consent for one client."""
    for words in (
        ("account", "set", "ada", "--plan", "growth", "--create"),
        ("consent", "grant", "ada", "app"),
    ):
        assert run(*words, "--config", config).status == 0
    return config


CASES: dict[str, tuple[tuple[tuple[str, ...], ...], tuple[str, ...], str, tuple[str, ...]]] = {
    "allowed": ((), REVEAL, "allow", ("account ada is active", "growth includes reveal")),
    "no consent for the client": (
        (("consent", "revoke", "ada", "app"),),
        REVEAL,
        "consent_revoked",
        ("was revoked at 2", "`mcp-sidecar consent grant ada app`", "account ada is active"),
    ),
    "another client": (
        (),
        (*REVEAL[:-2], "--scopes", "reveal", "--client", "other"),
        "consent_missing",
        ("no consent for client other", "`mcp-sidecar consent grant ada other`"),
    ),
    "a narrow consent": (
        (("consent", "grant", "ada", "app", "--scopes", "read"),),
        REVEAL,
        "insufficient_scope",
        ("for read, which is too little",),
    ),
    "disabled": (
        (("account", "set", "ada", "--status", "disabled"),),
        REVEAL,
        "account_disabled",
        ("account ada is disabled", "`mcp-sidecar account set ada --status active`"),
    ),
    "another plan": (
        (("account", "set", "ada", "--plan", "free"),),
        REVEAL,
        "plan_required",
        ("free does not include reveal", "a plan that includes it (growth)", "--plan growth"),
    ),
    "a used quota": (
        (("account", "set", "ada", "--quota", "requests.minute=0"),),
        SEARCH,
        "quota_exceeded",
        ("ask for at most 0 of requests, or raise", "`mcp-sidecar account set ada --quota requests.minute=N`"),
    ),
    "too few credits": (
        (),
        (*REVEAL[:2], "--arguments", '{"ids": ["a", "b", "c", "d"], "ok": true}', "--scopes", "reveal"),
        "insufficient_credits",
        ("`mcp-sidecar credits grant ada contact 1`",),
    ),
    "a confirmation with its price": (
        (("credits", "grant", "ada", "contact", "5"),),
        ("--tool", "reveal", "--arguments", '{"ids": ["x"]}', "--scopes", "reveal"),
        "confirmation_required",
        ("1 of your 8 contact credits", "ask the user, then repeat the call"),
    ),
    "an undeclared tool": ((), ("--tool", "none"), "tool_unknown", ("declare the tool under `tools`",)),
    "a list": ((), ("--method", "tools/list"), "allow", ("account ada is active",)),
}


@pytest.mark.parametrize(("prepare", "asked", "outcome", "said"), CASES.values(), ids=CASES)
def test_the_store_decides_and_nothing_is_written(run: Run, ada: Path, store_server, prepare, asked, outcome, said):
    for words in prepare:
        assert run(*words, "--config", ada).status == 0
    before = contents(store_server)
    result = run("explain", *PARTY, *asked, "--config", ada)
    assert (result.status, result.err) == (0, "")
    assert f"=> {outcome}" in result.out
    for text in (*said, "assumed: nothing: the store was asked"):
        assert text in result.out
    assert contents(store_server) == before


def test_an_empty_store_stays_empty_and_an_unknown_account_is_reported(run: Run, config: Path, store_server):
    result = run("explain", *PARTY, *SEARCH, "--config", config)
    assert "the store has no record of account ada" in result.out
    assert "free (default_plan) includes search" in result.out
    assert "=> consent_missing" in result.out
    assert contents(store_server) == {}


def test_an_account_without_a_plan_to_fall_back_on_is_unknown(run: Run, config: Path):
    policy = config.parent / "policies" / "p.yaml"
    policy.write_text(policy.read_text().replace("default_plan: free\n", "consent: first_use\n"))
    result = run("explain", *PARTY, *SEARCH, "--config", config)
    assert "=> account_unknown" in result.out
    assert "has no dated record; the first admitted call creates one" in result.out
    assert "`mcp-sidecar account set ada --plan free --create`, or a default_plan" in result.out


def test_an_expired_hold_is_counted_as_the_script_counts_it_and_stays(run: Run, ada: Path, store_server: StoreServer):
    policy: Policy = load(ada, serving=False).policy
    now = int(time.time())
    held = Application(
        "held",
        "gone",
        Caller("main", "https://example.com/api/auth", "ada", "ada", "app", frozenset(), now, now + 60),
        False,
        Depth.PRICE,
        policy.tools["reveal"].terms,
        (Demand(AmountKind.CREDIT, "contact", 3),),
        OnUnknown.RELEASE,
        lease=1,
    )
    command = scripts.admit(held)
    with store_server.client() as client:
        reply = client.eval(command.script.source, len(command.keys), *command.keys, *command.arguments)
        assert reply[0] == 0
        end = client.time()
        while client.time() <= (end[0], end[1] + 2000):
            pass
    before = contents(store_server)
    output = run("explain", *PARTY, *REVEAL, "--config", ada, "--format", "json").json
    assert output["outcome"] == "allow"
    (contact,) = (each for each in output["price"] if each["name"] == "contact")
    assert (contact["needed"], contact["left"]) == (2, 3)
    assert contents(store_server) == before


def test_a_token_s_account_is_the_store_s_too(run: Run, ada: Path):
    now = int(time.time())
    claims = {
        "iss": "https://example.com/api/auth",
        "aud": "https://mcp.example.com/mcp",
        "sub": "ada",
        "client_id": "other",
        "iat": now,
        "exp": now + 600,
        "scope": "read",
    }
    (ada.parent / "token").write_text(Signer("ES256").sign({"alg": "ES256", "typ": "at+jwt"}, claims))
    words = ("explain", "--tool", "search", "--token-file", ada.parent / "token", "--config", ada)
    assert "=> consent_missing" in run(*words).out
    assert "=> allow" in run(*words, "--offline").out


def test_remedies_name_the_issuer_where_several_are_configured(run: Run, tmp_path: Path, store_server: StoreServer):
    text = "\n".join((*CONFIG.splitlines()[:2], TWO_ISSUERS, *CONFIG.splitlines()[3:], ""))
    config = write(tmp_path, store=store_server.url, config=text)
    result = run("explain", *PARTY, *SEARCH, "--issuer", "b", "--config", config)
    assert "`mcp-sidecar consent grant ada app --issuer b`" in result.out


def test_a_store_that_cannot_be_asked_is_an_error_that_names_the_way_out(run: Run, config: Path, store_server):
    with store_server.client() as client:
        client.set("mcp:layout", "9")
    words = ("explain", *PARTY, *SEARCH, "--config", config)
    result = run(*words)
    assert (result.status, result.out) == (1, "")
    assert "layout (mcp:layout) is version '9'" in result.err
    assert "--offline explains the call for an account without usage" in result.err
    assert "the store was not read" in run(*words, "--offline").out


def test_an_embedded_store_is_not_created_for_a_question(run: Run, tmp_path: Path):
    config = write(tmp_path)
    result = run("explain", *PARTY, *SEARCH, "--config", config)
    assert result.status == 1
    assert "does not exist: start the sidecar, or use --offline" in result.err
    assert not (tmp_path / "var").exists()
