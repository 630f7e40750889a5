"""Vectors of Project Wycheproof (Apache-2.0), as the project publishes them: in a Go module that embeds its files.

They are fetched by the `go` command when a test needs them first and kept in `var/vectors`, which is not part of the
repository; every file is held against its digest. Without `go`, or without its module proxy, tests skip and say so.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest

FOLDER: Final = Path(__file__).parents[2] / "var" / "vectors"
MODULE: Final = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"
DIGESTS: Final = {
    "json_web_signature_test.json": "8e687a06fe8359f4ec51480f1a9f73c8faebd6f4c01b818b843b44eee54fd5d9",
    "json_web_key_test.json": "be983255bce26406f97020ec5458b33930a90d5f868e604fcd569c300aba2862",
}
_SECONDS: Final = 25
"""Two workers that wait for one another must both be done before a test's time is up."""


def wycheproof(name: str) -> Any:
    """One file of vectors; skips the test when it cannot be had.

    Raises:
        AssertionError: the file is not the one that is expected.
    """
    kept = FOLDER / name
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers of one test run want it at once
        if not kept.exists():
            _fetch()
    data = kept.read_bytes()
    assert hashlib.sha256(data).hexdigest() == DIGESTS[name], f"{kept} is not the file that was published"
    return json.loads(data)


def _fetch() -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("the go command, which fetches the vectors, is not installed")
    with tempfile.TemporaryDirectory() as folder:
        # A cache of its own, writable so that it can be removed: of a hundred megabytes two files are kept.
        own = {"GOMODCACHE": folder, "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"}
        try:
            ended = subprocess.run(
                [go, "mod", "download", "-json", MODULE],
                cwd=folder,
                env={**os.environ, **own},
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"the vectors did not arrive within {_SECONDS} s")
        if ended.returncode:
            pytest.skip(f"the vectors cannot be fetched: {(ended.stderr or ended.stdout)[-300:]}")
        source = Path(json.loads(ended.stdout)["Dir"])
        for name in DIGESTS:
            partial = FOLDER / f"{name}.partial"
            shutil.copyfile(source / "testvectors_v1" / name, partial)
            partial.replace(FOLDER / name)
