"""Node and its packages are really there, and a script that does not end is ended."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.node import MANIFEST, node, package, run_script, started
from tests.support.store import until

pytestmark = pytest.mark.node


async def test_scripts_run_on_a_node_that_is_new_enough(tmp_path: Path):
    script = tmp_path / "say.mjs"
    script.write_text(
        "process.stdout.write(JSON.stringify([process.version, process.argv.slice(2), process.env.WORD]))"
    )
    version, arguments, word = (await run_script(script, "a b", env={"WORD": "é"})).json
    assert int(version[1:].partition(".")[0]) >= 22
    assert (arguments, word) == (["a b"], "é")
    assert node().is_file()


async def test_the_pinned_versions_of_the_packages_are_installed():
    for name, version in json.loads(MANIFEST.read_text())["dependencies"].items():
        assert json.loads(package(name, "package.json").read_text())["version"] == version


async def test_a_script_has_stdin_stdout_and_an_exit_status(tmp_path: Path):
    script = tmp_path / "echo.mjs"
    script.write_text("process.stdin.pipe(process.stderr); process.stdin.on('end', () => { process.exitCode = 3 })")
    ended = await run_script(script, stdin=b"x" * 200_000)
    assert (ended.status, ended.stdout, len(ended.stderr)) == (3, "", 200_000)
    with pytest.raises(AssertionError, match="exit status 3"):
        _ = ended.json


async def test_a_script_that_does_not_end_is_ended_with_its_children(tmp_path: Path):
    script, child = tmp_path / "stay.mjs", tmp_path / "child.mjs"
    child.write_text("console.log(process.pid); setInterval(() => {}, 1000)")
    script.write_text(
        "import { spawn } from 'node:child_process';"
        f"spawn(process.execPath, [{json.dumps(str(child))}], {{ stdio: 'inherit' }})"
    )
    async with started(script) as process:
        assert process.stdout is not None
        pid = int(await process.stdout.readline())
        os.kill(pid, 0)
    await until(lambda: not _alive(pid))
    with pytest.raises(AssertionError, match=r"longer than 0\.01 s"):
        await run_script(script, seconds=0.01)


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
