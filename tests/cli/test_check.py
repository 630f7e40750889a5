"""`check` and `test`: every mistake at its place, and nothing that was substituted."""

from pathlib import Path

import pytest

from sidecar.config.load import load_settings
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
workers: 4
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
        "config.yaml:8:10: workers: not enforced by this version",
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
        "wrong": "not enforced by this version",
        "accepted": "1",
    }
    assert "hunter2" not in as_json.out


def test_what_was_loaded_is_told(run: Run, tmp_path: Path) -> None:
    config = write(tmp_path)
    result = run("check", "--config", config)
    assert (result.status, result.err) == (0, "")
    assert "1 test passed" in result.out
    told = run("check", "--config", config, "--format", "json").json
    assert told["ok"] is True
    assert (told["store"], told["tools"], told["tests"]) == ("embedded", ["search", "reveal"], 1)
    assert told["warnings"] == []


def test_warnings_do_not_fail(run: Run, tmp_path: Path) -> None:
    config = write(tmp_path, policy=POLICY + "consent: first_use\n")
    result = run("check", "--config", config)
    assert result.status == 0
    assert result.err.startswith("warning: consent: first_use lets in every client")
    assert "first_use" in run("check", "--config", config, "--format", "json").json["warnings"][0]["text"]


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
def test_a_store_that_could_never_be_reached_is_told_at_its_place(run: Run, tmp_path: Path, url: str) -> None:
    result = run("check", "--config", write(tmp_path, store=url))
    assert result.status == 1
    assert result.err.startswith(f"{tmp_path}/config.yaml:4:14: store.url: ")
    assert result.err.count("\n") == 1
    assert "hunter2" not in result.err


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
        assert (result.status, result.out, result.err) == (0, "1 test: 1 passed, 0 failed\n", "")
    policy.write_text(POLICY.replace("expect: allow", "expect: plan_required"))
    result = run("test", policy)
    assert result.status == 1
    assert "searching is allowed: expected plan_required, got allow" in result.err
    told = run("test", policy, "--format", "json").json
    assert (told["passed"], told["failed"], told["tests"][0]["passed"]) == (0, 1, False)


def test_files_that_do_not_compile(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("scopes: {s: S}\n")
    (tmp_path / "b.yaml").write_text("tools: {t: {scopes: [x], mode: shadow}}\n")
    result = run("test", tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert result.status == 1
    assert located(result.err, tmp_path) == [
        "b.yaml:1:22: tools.t.scopes[0]: there is no scope 'x'",
        "b.yaml:1:26: tools.t.mode: not enforced by this version",
    ]
