"""`mcp-sidecar diff OLD NEW`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import Run

OLD = "scopes: {s: S}\ntools: {a: {scopes: [s]}, b: {scopes: [s]}}\n"


def test_differences_are_printed_and_counted_by_the_exit_code_on_request(run: Run, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new.yaml"
    old.mkdir()
    (old / "policy.yaml").write_text(OLD)
    new.write_text(OLD.replace("b: {scopes: [s]}", "b: {scopes: []}"))
    result = run("diff", old, new)
    assert (result.status, result.err) == (0, "")
    assert "  tool b scopes -s" in result.out.splitlines()
    assert "  tool b: insufficient_scope → allow for no scopes" in result.out.splitlines()
    assert run("diff", old, new, "--exit-code").status == 1
    same = run("diff", old, old, "--exit-code")
    assert (same.status, same.out) == (0, "no differences\n")
    document = run("diff", old, new, "--format", "json").json
    assert document["outcomes"] == [
        {"operation": "tool b", "before": "insufficient_scope", "after": "allow", "callers": ["no scopes"]}
    ]


def test_a_policy_that_does_not_compile_is_reported_with_its_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(OLD)
    (tmp_path / "new.yaml").write_text(OLD.replace("b: {scopes: [s]}", "b: {scopes: [x]}"))
    result = run("diff", tmp_path / "old.yaml", tmp_path / "new.yaml")
    assert result.status == 1
    assert "new.yaml:2:" in result.err
