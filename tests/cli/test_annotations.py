"""`check --format github` and the pre-commit hooks: problems where a reviewer sees them."""

import re
import shlex
from pathlib import Path

import yaml

from sidecar.cli.annotations import error_annotation, warning_annotation
from sidecar.config.documents.merging import Position, Problem
from sidecar.workbench.lint import Notice
from tests.cli.support import CONFIG, POLICY, Run, write

ROOT = Path(__file__).parents[2]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))


def test_text_and_parameters_are_escaped_for_the_command():
    problem = Problem(Position("a:b,c%.yaml", 3, 7), "tools.x", "50% of\r\ntwo: lines, really", "a, b")
    assert error_annotation(problem) == (
        "::error file=a%3Ab%2Cc%25.yaml,line=3,col=7::tools.x: 50%25 of%0D%0Atwo: lines, really; accepted: a, b"
    )
    assert warning_annotation(Notice("p.yaml:5", "100%")) == "::warning file=p.yaml,line=5::100%25"
    assert warning_annotation(Notice("", "all")) == "::warning::all"


def test_problems_are_annotations_with_paths_from_the_working_directory(run: Run, tmp_path: Path, monkeypatch):
    write(tmp_path, policy=POLICY.replace("tools: [search]", "tools: [serach]"), config=CONFIG + "x: 1\n")
    monkeypatch.chdir(tmp_path)
    result = run("check", "--config", tmp_path / "config.yaml", "--format", "github")
    assert (result.status, result.err) == (1, "")
    first, second = result.out.splitlines()
    assert first.startswith("::error file=config.yaml,line=5,col=1::x: unknown key; accepted: resource")
    assert second == (
        "::error file=policies/p.yaml,line=6,col=18::plans.free.tools[0]: there is no tool 'serach'; "
        "accepted: search, reveal; did you mean search?"
    )


def test_warnings_are_annotations_and_do_not_fail(run: Run, tmp_path: Path, monkeypatch):
    write(tmp_path, policy=POLICY + "consent: first_use\n")
    monkeypatch.chdir(tmp_path)
    result = run("check", "--format", "github")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("::warning file=policies/p.yaml,line=33::consent: first_use admits")


def test_an_unread_file_is_named_with_the_problems_that_it_may_explain(run: Run, tmp_path: Path):
    config = write(tmp_path, policy=POLICY.replace("scopes: {read", "#"))
    (tmp_path / "policies" / "scopes.yml").write_text("scopes: {read: Read.}\n")
    result = run("check", "--config", config)
    assert result.status == 1
    assert f"warning: {tmp_path}/policies/scopes.yml:1: this file is not read" in result.err
    as_json = run("check", "--config", config, "--format", "json").json
    assert (as_json["ok"], len(as_json["warnings"])) == (False, 1)


def test_the_hooks_run_on_files_of_a_policy_and_fail_with_it(run: Run, tmp_path: Path, monkeypatch):
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    for hook in HOOKS:
        program, *words = shlex.split(hook["entry"])
        assert (program, hook["language"], hook["pass_filenames"]) == ("mcp-sidecar", "python", False)
        assert re.search(hook["files"], "policies/p.yaml")
        assert not re.search(hook["files"], "src/policies.py")
        assert run(*words, *hook.get("args", ())).status == 0
    (tmp_path / "policies" / "p.yaml").write_text(POLICY.replace("expect: allow", "expect: plan_required"))
    assert [run(*shlex.split(each["entry"])[1:], *each.get("args", ())).status for each in HOOKS] == [1, 1]
