"""Run the commands of docs/first-hour.md in their order, with other ports."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.peers.haproxy import PACKAGES
from bench.programs import MissingError, of_debian
from sidecar.store.embedded.locks import is_alive
from tests.support.debian import promtool
from tests.support.store import free_port

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first-hour.md").read_text("utf-8")
PORTS = ("8000", "9000", "8443", "8081", "8082", "9091", "9092", "9095")
ENDS_WITHIN = 60.0
MINUTE = "expr: mcp_sidecar_backend_up == 0\n        for: 1m\n"
"""Lines of the alert that the page waits for; the test waits for less."""

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]


@dataclass(slots=True)
class Walk:
    """A shell with the programs that the page needs.

    Attributes:
        ports: used instead of the page's.
        said: the output of each command, in order.
    """

    folder: Path
    programs: Path
    ports: dict[str, str] = field(default_factory=lambda: {port: str(free_port()) for port in PORTS})
    said: dict[str, str] = field(default_factory=dict)

    def program(self, name: str, *command: str, **environment: str) -> None:
        exports = "".join(f"export {key}='{value}'\n" for key, value in environment.items())
        path = self.programs / name
        path.write_text(f'#!/bin/sh\n{exports}exec {" ".join(command)} "$@"\n')
        path.chmod(0o755)

    def with_ports(self, text: str) -> str:
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: self.ports[found[1]], text)

    def run(self, command: str) -> None:
        # No pipe: what is left running would keep it open.
        with (self.programs / f"output-{len(self.said)}").open("w+b") as output:
            done = subprocess.run(
                ["bash", "-c", self.with_ports(command)],
                cwd=self.folder,
                env={**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=240,
            )
            output.seek(0)
            said = output.read().decode()
        assert done.returncode == 0, (command, said, [each.read_text()[-2000:] for each in self.folder.glob("*.log")])
        self.said[command] = self.said.get(command, "") + said

    def save(self, block: str) -> None:
        """Save a block of the page as the file that its first line names, or as lines of the config."""
        name = re.match(r"# (\S+)\n", block)
        if name is not None:
            (self.folder / name[1]).write_text(self.with_ports(block))
        else:
            config = self.folder / "mine/config.yaml"
            kept = [line for line in config.read_text().splitlines() if not re.match("(listen|admin):", line)]
            config.write_text(self.with_ports("\n".join([*kept, block])))

    def end(self) -> None:
        """End all that was started."""
        pids = [int(each.read_text()) for each in self.folder.glob("*.pid")]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            end = time.monotonic() + ENDS_WITHIN
            while any(map(is_alive, pids)) and time.monotonic() < end:
                time.sleep(0.05)


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    for program in ("jq", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")
    try:
        haproxy = of_debian("haproxy", PACKAGES, "usr/sbin/haproxy")
    except MissingError as missing:
        pytest.skip(str(missing))
    programs = tmp_path / "programs"
    programs.mkdir()
    made = Walk(tmp_path, programs)
    made.program("haproxy", str(haproxy.path), **haproxy.env)
    for name in ("promtool", "prometheus"):
        made.program(name, str(promtool().with_name(name)))
    made.program("mcp-sidecar", sys.executable, "-m", "sidecar", PYTHONPATH=str(ROOT))
    made.program("python", sys.executable, PYTHONPATH=str(ROOT))
    try:
        yield made
    finally:
        made.end()


def test_the_hour_is_as_the_page_says(walk: Walk):
    alerts = (ROOT / "deploy/alerts.yaml").read_text("utf-8")
    assert MINUTE in alerts
    (walk.folder / "alerts.yaml").write_text(alerts.replace(MINUTE, MINUTE.replace("1m", "5s")))
    for kind, block in re.findall(r"```(\w+)\n(.*?)```", PAGE, re.S):
        if kind == "console":
            for command in block.splitlines():
                walk.run(command.removeprefix("$ "))
        else:
            walk.save(block)
    said = {command: text.split() for command, text in walk.said.items()}
    assert said["sh call.sh"] == ["200", "200"]
    assert said["sh call.sh; jq -r '.error.data.code' answer.json"] == ["502", "backend_unavailable"]
    assert said["sort statuses | uniq -c"][1::2] == ["200"]
    [fired] = [text for command, text in said.items() if "runbook_url" in command]
    assert fired[:2] == ["McpSidecarBackendLost", "page"]
    assert "verified: 0 with differences" in walk.said[next(command for command in said if "--verify" in command)]
    assert "minute 60→6000" in walk.said["PORT=8082 mcp-sidecar reload --config mine/config.yaml"]
