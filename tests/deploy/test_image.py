"""The image: built from the Dockerfile twice with the same result, and run with the shipped config."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy import container

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]

TAG = "localhost/mcp-sidecar-test"
AGAIN = f"{TAG}-again"


@pytest.fixture
def image() -> Iterator[str]:
    container.require()
    with container.exclusive():  # the tests may run in several workers
        container.prepare_base()
        try:
            yield container.build(TAG)
        finally:
            container.clean(AGAIN)


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """Mounts of the documented command."""
    folder = tmp_path / "etc"
    folder.mkdir()
    shutil.copy(container.ROOT / "config.yaml", folder)
    shutil.copytree(container.ROOT / "policies", folder / "policies")
    return folder


def await_state(condition: Callable[[], bool], what: str, within: float = 60.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


def test_two_builds_give_the_same_layers(image: str):
    assert container.build(AGAIN, cached=False) == image


@pytest.mark.usefixtures("image")
def test_it_serves_the_shipped_config_with_a_read_only_root_and_a_user_of_its_own(tmp_path: Path, shipped: Path):
    data, log = tmp_path / "volume", tmp_path / "log"
    data.mkdir()
    with container.running(TAG, shipped, data, log) as running:
        await_state(lambda: running.process.poll() is not None or running.is_healthy(), "it is healthy")
        assert running.process.poll() is None, log.read_text()
        assert running.execute("id", "-u").stdout + running.execute("id", "-g").stdout == "10001\n10001\n"
        for path in ("/opt/mcp-sidecar/x", "/etc/mcp-sidecar/x", "/x"):
            assert "Read-only file system" in running.execute("touch", path).stderr
        reported = running.execute("mcp-sidecar", "account", "list", "--config", "/etc/mcp-sidecar/config.yaml")
        assert reported.returncode == 0, reported.stderr
        assert list((data / "store").iterdir()), "the embedded store is on the volume"
        assert running.execute("python", "-m", "pip", "--version").returncode != 0
        running.process.terminate()
        assert running.process.wait(60) == 0
    assert re.search(r'"event":"stopped"', log.read_text())


@pytest.mark.usefixtures("image")
def test_a_wrong_config_ends_it_and_is_not_healthy(tmp_path: Path, shipped: Path):
    data, log = tmp_path / "volume", tmp_path / "log"
    data.mkdir()
    (shipped / "config.yaml").write_text("resource: nonsense\n")
    with container.running(TAG, shipped, data, log) as running:
        assert running.process.wait(60) == 1
    assert "config.yaml:1:" in log.read_text()
