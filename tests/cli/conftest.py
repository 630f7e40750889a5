"""Fixtures that run commands, and a config with a real store."""

from pathlib import Path

import pytest

from sidecar.cli import main
from tests.cli.support import Result, Run, write
from tests.support.store import StoreServer


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def run_command(*words: object) -> Result:
        capsys.readouterr()
        status = main([str(word) for word in words])
        return Result(status, *capsys.readouterr())

    return run_command


@pytest.fixture
def config(tmp_path: Path, store_server: StoreServer) -> Path:
    """A config with a real, empty server as its store."""
    return write(tmp_path, store=store_server.url)
