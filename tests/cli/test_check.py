"""`check` and `test`: every mistake at its place, and nothing that was substituted."""

from pathlib import Path

import pytest

from sidecar.config.files import load_settings
from tests.cli.support import CONFIG, POLICY, Run, write

ROOT = Path(__file__).parents[2]

BROKEN_CONFIG = """\
resource: ${RESOURCE}
listen: {address: "0.0.0.0:8080", tls: {cert: a, key: b}}
backend:
  url: http://127.0.0.1:8000/mcp
  timeout: 5
issuers: [{issuer: "http://example.com"}]
store: {url: "${CACHE_URL}"}
workers: 400
colour: blue
"""
BROKEN_POLICY = """\
scopes: {read: Read.}
resources: {"docs://*": {}}
tools:
  search: {scopes: [raed]}
  reveal:
    scopes: [read]
    spends: {contact: length(arguments.ids)}
    confirm: {argument: ok}
default_plan: free
"""


def located(text: str, folder: Path) -> list[str]:
    return [line.removeprefix(f"{folder}/").split("; accepted")[0] for line in text.splitlines()]


def test_ten_mistakes_and_more_are_as_many_located_errors(run: Run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RESOURCE", "hunter2")
    monkeypatch.setenv("CACHE_URL", "memcached://:hunter2@cache")
    config = write(tmp_path, config=BROKEN_CONFIG, policy=BROKEN_POLICY)
    result = run("check", "--config", config)
    assert (result.status, result.out) == (1, "")
    assert located(result.err, tmp_path) == [
        "config.yaml:1:11: resource: not a URL",
        "config.yaml:2:47: listen.tls.cert: cannot be read (No such file or directory)",
        "config.yaml:2:55: listen.tls.key: cannot be read (No such file or directory)",
        "config.yaml:5:12: backend.timeout: an integer is given",
        "config.yaml:6:20: issuers[0].issuer: http:// to another machine",
        "config.yaml:7:14: store.url: not a store",
        "config.yaml:8:10: workers: no number of processes",
        "config.yaml:9:1: colour: unknown key",
        "policies/p.yaml:2:13: resources.docs://*.scopes: required but missing",
        "policies/p.yaml:4:21: tools.search.scopes[0]: there is no scope 'raed'",
        "policies/p.yaml:7:14: tools.reveal.spends.contact: there is no pool of credits 'contact'",
        "policies/p.yaml:7:23: tools.reveal.spends.contact: reads the argument 'ids', which reveal does not declare",
        "policies/p.yaml:8:25: tools.reveal.confirm.argument: 'ok' is not declared in arguments",
        "policies/p.yaml:9:15: default_plan: there is no plan 'free'",
    ]
    assert "hunter2" not in result.err
    as_json = run("check", "--config", config, "--format", "json")
    assert (as_json.status, as_json.err) == (1, "")
    assert len(as_json.json["problems"]) == 14
    assert as_json.json["problems"][6] == {
        "file": str(config),
        "line": 8,
        "column": 10,
        "path": "workers",
        "wrong": "no number of processes",
        "accepted": "auto, or an integer from 1 to 256",
        "found": "400",
        "did_you_mean": "",
    }
    assert "hunter2" not in as_json.out


def test_a_summary_of_the_loaded_files_is_printed(run: Run, tmp_path: Path) -> None:
    config = write(tmp_path)
    result = run("check", "--config", config)
    assert (result.status, result.err) == (0, "")
    assert "2 tests passed" in result.out
    output = run("check", "--config", config, "--format", "json").json
    assert output["ok"] is True
    assert (output["store"], output["tools"], output["tests"]) == ("embedded", ["search", "reveal"], 2)
    assert output["warnings"] == []


def test_warnings_do_not_fail(run: Run, tmp_path: Path) -> None:
    config = write(tmp_path, policy=POLICY + "consent: first_use\n")
    result = run("check", "--config", config)
    assert result.status == 0
    assert result.err.startswith(f"warning: {tmp_path}/policies/p.yaml:33: consent: first_use admits every client")
    assert "first_use" in run("check", "--config", config, "--format", "json").json["warnings"][0]["text"]


def test_an_audience_by_client_is_warned_of_at_its_line(run: Run, tmp_path: Path) -> None:
    issuer = 'issuers: [{issuer: "https://example.com/api/auth"'
    config = write(tmp_path, config=CONFIG.replace(issuer, f"{issuer}, audience: {{client_ids: [a], aud: absent}}"))
    result = run("check", "--config", config)
    assert result.status == 0
    assert result.err.startswith(f"warning: {config}:3: tokens without aud are bound to no resource")
    (warning,) = run("check", "--config", config, "--format", "json").json["warnings"]
    assert warning["rule"] == f"{config}:3"


def test_a_test_that_fails_fails_the_check_at_its_line(run: Run, tmp_path: Path) -> None:
    config = write(tmp_path, policy=POLICY.replace("expect: allow", "expect: plan_required"))
    result = run("check", "--config", config)
    assert result.status == 1
    line = POLICY.splitlines().index("  - name: searching is allowed") + 1
    assert result.err.startswith(f"{tmp_path}/policies/p.yaml:{line}:1: tests: the test 'searching is allowed' expects")


def test_a_config_that_is_not_there(run: Run, tmp_path: Path) -> None:
    result = run("check", "--config", tmp_path / "none.yaml")
    assert result.status == 1
    assert result.err == f"{tmp_path}/none.yaml:1:1: cannot be read (No such file or directory)\n"


@pytest.mark.parametrize("url", ["unix://relative", "redis://a:b:c", "redis://a/x", "unix:///a?x=hunter2"])
def test_a_store_that_could_never_be_reached_is_reported_at_its_place(run: Run, tmp_path: Path, url: str) -> None:
    result = run("check", "--config", write(tmp_path, store=url))
    assert result.status == 1
    assert result.err.startswith(f"{tmp_path}/config.yaml:4:14: store.url: ")
    assert result.err.count("\n") == 1
    assert "hunter2" not in result.err


@pytest.mark.process
def test_the_shipped_config_and_policy_are_fine(run: Run, monkeypatch) -> None:
    for name in ("RESOURCE", "BACKEND"):
        monkeypatch.delenv(name, raising=False)
    result = run("check", "--config", ROOT / "config.yaml")
    assert result.status == 0, result.err
    settings = load_settings(ROOT / "config.yaml", {})
    assert settings.backend.url == "http://127.0.0.1:8000/mcp"


# --- test --------------------------------------------------------------------------------------


def test_tests_alone(run: Run, tmp_path: Path) -> None:
    config = write(tmp_path, config=CONFIG + "workers: 1\n")
    policy = tmp_path / "policies" / "p.yaml"
    for words in (("--config", config), (policy,), (tmp_path / "policies",)):
        result = run("test", *words)
        assert (result.status, result.out, result.err) == (0, "2 tests: 2 passed, 0 failed\n", "")
    policy.write_text(POLICY.replace("expect: allow", "expect: plan_required"))
    result = run("test", policy)
    assert result.status == 1
    assert "searching is allowed: failed\n  expected  plan_required\n  got       allow" in result.err
    output = run("test", policy, "--format", "json").json
    assert (output["passed"], output["failed"], output["tests"][0]["passed"]) == (1, 1, False)


def test_coverage_lists_the_rules_that_no_test_reaches(run: Run, tmp_path: Path) -> None:
    policy = write(tmp_path).parent / "policies" / "p.yaml"
    result = run("test", "--coverage", policy)
    assert result.status == 0
    assert "coverage: tests reach " in result.out
    assert "tool reveal, confirm: no test expects confirmation_required" in result.out
    output = run("test", "--coverage", policy, "--format", "json").json["coverage"]
    assert output["total"] - output["covered"] == len(output["missing"])
    assert {"plan growth", "quota rows"} <= {each["name"] for each in output["missing"]}
    assert "tool search" not in {each["name"] for each in output["missing"]}


def test_a_failed_step_is_shown_with_its_deciding_line(run: Run, tmp_path: Path) -> None:
    policy = write(tmp_path).parent / "policies" / "p.yaml"
    call = "call: {tool: search, arguments: {limit: 10}}"
    steps = f"steps: [{{times: 10, {call}, expect: allow}}, {{{call}, expect: allow}}]"
    policy.write_text(f"{POLICY}  - {{name: rows, caller: {{scopes: [read], plan: growth}}, {steps}}}\n")
    result = run("test", policy)
    assert result.status == 1
    quota = next(number for number, line in enumerate(POLICY.splitlines(), 1) if "rows: arguments.limit" in line)
    assert "rows: step 2: failed\n  expected  allow\n  got       quota_exceeded (" in result.err
    assert result.err.endswith(f"p.yaml:{quota}\n")
    # Every way to load the policy refuses it.
    checked = run("check", "--config", tmp_path / "config.yaml")
    assert checked.status == 1
    assert "the test 'rows: step 2' expects allow and got quota_exceeded" in checked.err


def test_files_that_do_not_compile(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("scopes: {s: S}\n")
    (tmp_path / "b.yaml").write_text("tools: {t: {scopes: [x], mode: shadow}}\n")
    result = run("test", tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert result.status == 1
    assert located(result.err, tmp_path) == [
        "b.yaml:1:22: tools.t.scopes[0]: there is no scope 'x'",
        "b.yaml:1:26: tools.t.mode: shadow mode is not available here, so the rule would be enforced",
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", POLICY[: POLICY.index("tools:\n  search")], "tools:\n"])
def test_a_policy_that_was_emptied_or_cut_short_is_refused(run: Run, tmp_path: Path, text: str) -> None:
    config = write(tmp_path, policy=POLICY)
    (tmp_path / "policies" / "p.yaml").write_text(text)
    for command in ("check", "test"):
        result = run(command, "--config", config)
        assert result.status == 1
        assert "empty" in result.err or "tools" in result.err


@pytest.mark.parametrize("tenant", ["common/v2.0", "organizations/v2.0", "consumers/v2.0", "common", "common/v2.0/"])
def test_a_url_for_logins_is_refused_at_its_place(run: Run, tmp_path: Path, tenant: str) -> None:
    config = write(
        tmp_path, config=CONFIG.replace("https://example.com/api/auth", f"https://login.microsoftonline.com/{tenant}")
    )
    result = run("check", "--config", config)
    assert result.status == 1
    assert f"{config}:3:20: issuers[0].issuer: a URL for logins" in result.err
    assert "TENANT_ID/v2.0" in result.err


def test_a_listed_tenant_of_logins_is_refused_at_its_place(run: Run, tmp_path: Path) -> None:
    template = '"https://login.microsoftonline.com/{tenantid}/v2.0", tenants: [common]'
    config = write(tmp_path, config=CONFIG.replace('"https://example.com/api/auth"', template))
    result = run("check", "--config", config)
    assert result.status == 1
    assert f"{config}:3:82: issuers[0].tenants: a URL for logins" in result.err


def test_an_issuer_that_is_not_as_documented_is_a_warning(run: Run, tmp_path: Path) -> None:
    config = write(tmp_path, config=CONFIG.replace("https://example.com/api/auth", "https://tenant.auth0.com"))
    result = run("check", "--config", config)
    assert result.status == 0
    assert "config.yaml:3: issuers[0].issuer: https://tenant.auth0.com is probably no iss of a token" in result.err
