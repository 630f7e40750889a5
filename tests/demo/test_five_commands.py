"""The five commands of the README, from a fresh clone with nothing on PATH but Python and make."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.store import free_port

ROOT = Path(__file__).parents[2]
NOT_CLONED = (
    *(".venv*", ".git", "node_modules", "__pycache__", ".*_cache", "build", "*.egg-info", "var", ".hypothesis"),
    *(
        ".image",
        ".pypi",
        ".prometheus",
        ".redis",
        ".cache",
    ),  # gigabytes, which change meanwhile
)
SERVER = "http://127.0.0.1:8000/mcp"
"""URL of the reader's own server in the README."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("c") / "clone"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_CLONED), symlinks=True)
    programs = folder.parent / "bin"
    programs.mkdir()
    python = Path(sys.base_prefix, "bin", f"python3.{sys.version_info[1]}")
    for name, program in (("python3", python), ("make", shutil.which("make"))):
        assert program, f"{name} is not installed"
        (programs / name).symlink_to(program)
    yield folder
    shutil.rmtree(folder.parent)


def environment(clone: Path) -> dict[str, str]:
    """Without anything that a Python of the developer's sets."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "PYENV"))
    }
    return {**kept, "PATH": str(clone.parent / "bin")}


def run(clone: Path, line: str, seconds: float = 240) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=clone, env=environment(clone), capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def started(clone: Path, line: str, until: str, number: int = signal.SIGINT) -> Iterator[list[str]]:
    """Run a command until the context is left; give its output up to a text."""
    with subprocess.Popen(
        ["/bin/sh", "-c", f"exec {line}"], cwd=clone, env=environment(clone), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            lines = []
            for each in process.stdout:
                lines.append(each)
                if until in each:
                    break
            assert lines, line
            assert until in lines[-1], lines
            yield lines
        finally:
            process.send_signal(number)
            process.stdout.read()
    assert process.returncode in (0, -number), line


@pytest.mark.timeout(1200)
def test_each_command_of_the_first_screen_works_in_a_fresh_clone(clone: Path):
    [block] = re.findall(r"make suffice:\n\n```console\n(.*?)```", (clone / "README.md").read_text(), re.DOTALL)
    demo, trial, init, check, serve = (line.removeprefix("$ ") for line in block.splitlines())

    said = run(clone, demo, 600)
    assert re.findall(r"^ +\d+/16 .* (\w+) \(", said, re.M) == ["ok"] * 16, said
    assert "every step had the expected outcome" in said

    port = free_port()
    own = f".venv/bin/python -m demo.backend --port {port}"
    with started(clone, own, "demo backend: "):
        url = f"http://127.0.0.1:{port}/mcp"
        assert SERVER in trial
        with started(clone, trial.replace(SERVER, url), "Ctrl-C ends everything.") as lines:
            assert sum("curl -sS http" in line for line in lines) == 3
        assert "wrote    mine/config.yaml" in run(clone, init.replace(SERVER, url))
        config = clone / "mine" / "config.yaml"
        mine = f"127.0.0.1:{free_port()}"
        config.write_text(config.read_text().replace("127.0.0.1:8080", mine).replace("127.0.0.1:9090", "127.0.0.1:0"))
        assert "as the backend lists" in run(clone, check)
        with (
            started(clone, serve, '"event":"listening"', signal.SIGTERM),
            pytest.raises(urllib.error.HTTPError, match="401"),
        ):
            urllib.request.urlopen(
                urllib.request.Request(f"http://{mine}/mcp", b"{}", {"Host": "mcp.example.com"}), timeout=60
            )
