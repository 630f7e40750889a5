"""The release: its workflow, and the wheel, whose bytes depend on the commit alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.pypi import prepare, program

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
BUILD: str = re.findall(r"^(setuptools==[\d.]+)", (ROOT / "deploy" / "build.lock").read_text(), re.M)[0]
ANALYSER = "zizmor==1.32.0"


@pytest.fixture
def jobs() -> dict[str, Any]:
    return dict(yaml.safe_load(WORKFLOW.read_text())["jobs"])


def scripts(job: dict[str, Any]) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


@pytest.mark.pypi(ANALYSER)
def test_the_analyser_of_workflows_finds_nothing():
    done = subprocess.run(
        [program(ANALYSER, "zizmor"), "--offline", "--no-progress", WORKFLOW],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_actions_are_pinned_by_commit_and_jobs_may_do_little():
    used = re.findall(r"uses: (.+)", WORKFLOW.read_text())
    assert len(used) >= 5
    assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []
    document = yaml.safe_load(WORKFLOW.read_text())
    assert document["permissions"] == {}
    assert all("permissions" in job and "timeout-minutes" in job for job in document["jobs"].values())


def test_everything_is_audited_and_tested_before_it_is_published(jobs: dict[str, Any]):
    audit = scripts(jobs["audit"])
    assert {*re.findall(r"pip-audit .*-r (\S+)", audit)} == {"deploy/requirements.lock", "deploy/build.lock"}
    assert "cyclonedx-py" in audit
    assert {"check", "audit"} <= set(jobs["image"]["needs"])
    assert {"check", "audit", "wheel", "image"} == set(jobs["publish"]["needs"])
    # It asks a service for each package, and fails when a new advisory appears: no check of a change.
    assert "pip-audit" not in (ROOT / ".ci" / "run").read_text()


def test_the_base_image_is_pinned_by_its_digest(jobs: dict[str, Any]):
    """The step's own line reads an exact tag from the Dockerfile."""
    [line] = [line for line in scripts(jobs["image"]).splitlines() if line.startswith("base=")]
    done = subprocess.run(["bash", "-c", f'{line}; echo "$base"'], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+\n", done.stdout)
    assert re.search(r'BASE="\$BASE"', scripts(jobs["image"]))
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.M) == ["${BASE}", "${BASE}"]


def built(folder: Path, touched: float) -> bytes:
    """A wheel of a copy of this tree whose files have other times."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "sidecar", folder / "sidecar", ignore=shutil.ignore_patterns("__pycache__"))
    for path in folder.rglob("*"):
        os.utime(path, (touched, touched))
    done = subprocess.run(
        [
            *(prepare(BUILD) / "bin" / "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"),
            *("--disable-pip-version-check", "--wheel-dir", folder / "dist", "."),
        ],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1790000000"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel.read_bytes()


@pytest.mark.pypi(BUILD)
def test_two_builds_give_the_same_wheel(tmp_path: Path):
    program(BUILD, "python")
    assert built(tmp_path / "one", 1_600_000_000) == built(tmp_path / "two", 1_700_000_000)
    [wheel] = (tmp_path / "one" / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "sidecar/runtime/process.py" in names
    assert len([name for name in names if name.endswith(".lua")]) == len(list((ROOT / "sidecar").rglob("*.lua")))
    assert not [name for name in names if name.startswith(("tests/", "demo/", "bench/"))]
