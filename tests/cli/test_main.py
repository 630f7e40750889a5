"""The command line itself: what is a mistake of the caller, and what only looks like a command."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import Run, write

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "check extra",
        "check --nonsense",
        "check --format yaml",
        "check --conf config.yaml",
        "explain --tool",
        "schema",
        "schema else",
        "account",
        "account show",
        "account set a --status asleep",
        "account set a --quota",
        "account set a --quota rows.month",
        "account set a --quota rows.month=",
        "account set a --quota .month=5",
        "account set a --quota rows=5",
        "account set a --quota rows.year=5",
        "account set a --quota rows.month=-5",
        "account set a --quota rows.month=1.5",
        "account set a --quota rows.month=many",
        "account set a --quota rows.month=9007199254740992",
        "consent grant a",
        "consent revoke",
        "credits grant a contact",
        "credits grant a contact -1",
        "credits grant a contact 1.5",
        "credits grant a contact 9007199254740992",
        "credits spend a contact 99999999999999999999999",
        "credits set a contact ٣",
        "credits set a contact 0x10",
        "usage a b",
        "demo",
    ],
)
def test_a_wrong_command_line_is_2(run: Run, line: str) -> None:
    result = run(*line.split())
    assert result.status == 2
    assert result.err.startswith("usage:")
    assert result.out == ""


@pytest.mark.parametrize("line", ["usage", "usage --verify", "usage a --all-accounts", "usage --all-accounts"])
def test_usage_is_of_one_account_or_verifies_all(run: Run, line: str) -> None:
    result = run(*line.split())
    assert result.status == 2
    assert result.err.startswith("mcp-sidecar: ")
    assert "--all-accounts" in result.err


@pytest.mark.parametrize("name", ["", " ", " a", "a\n", "a\x1b[2J", "a" * 2121])
def test_names_that_no_token_could_hold_are_2(run: Run, name: str) -> None:
    assert run("usage", name).status == 2


@pytest.mark.parametrize("line", ["--help", "--version", "check --help", "account set --help"])
def test_help_is_0(run: Run, line: str) -> None:
    result = run(*line.split())
    assert result.status == 0
    assert "mcp-" in result.out


def test_python_m_is_the_same_command(tmp_path: Path) -> None:
    write(tmp_path)
    words = [sys.executable, "-m", "sidecar"]
    done = subprocess.run([*words, "check"], cwd=tmp_path, env=_env(), capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "config.yaml: ok")
    done = subprocess.run([*words, "check", "--lively"], cwd=tmp_path, env=_env(), capture_output=True, text=True)
    assert done.returncode == 2
    (tmp_path / "config.yaml").write_text("workers: 0\n")
    done = subprocess.run([*words, "check"], cwd=tmp_path, env=_env(), capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        "config.yaml:1:10: workers: no number of processes; accepted: auto, or an integer from 1 to 256; found: 0\n"
        in done.stderr
    )


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    words = f"{sys.executable} -m sidecar schema config | true"
    done = subprocess.run(["bash", "-c", words], cwd=tmp_path, env=_env(), capture_output=True, text=True)
    assert done.stderr == ""


def test_the_store_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, store="redis://:hunter2@127.0.0.1:1/0")
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", "usage", "alice"], cwd=tmp_path, env=_env(), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("mcp-sidecar: store: the store cannot be reached: ")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


def _env() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
