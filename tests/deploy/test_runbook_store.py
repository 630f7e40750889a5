"""Run each command of docs/runbook-store.md, and lose what the page says an older copy loses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from sidecar.store.commands.keys import account_keys
from sidecar.store.embedded.embedded_server import server_binary
from tests.proxy.support import POLICY, contacts
from tests.support.debian import redis_server
from tests.support.rig import rig
from tests.support.store import StoreServer, free_port

PAGE = (Path(__file__).parents[2] / "docs" / "runbook-store.md").read_text("utf-8")

ADA = account_keys("main", "ada")

# Each command is a process of its own, and loads the whole program.
pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


def commands(heading: str) -> list[str]:
    """The commands under a heading, in their order."""
    section = re.split(r"^## ", PAGE.partition(f"\n## {heading}\n")[2], flags=re.M)[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.S)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@dataclass(slots=True)
class Shell:
    """A shell in the folder of config.yaml, with the programs that the page uses.

    Attributes:
        ran: every command of the page that was run.
    """

    folder: Path
    programs: Path
    store: str = ""
    port: int = 0
    ran: list[str] = field(default_factory=list)

    def program(self, name: str, *command: str, **environment: str) -> None:
        exports = "".join(f"export {key}={value}\n" for key, value in environment.items())
        path = self.programs / name
        path.write_text(f'#!/bin/sh\n{exports}exec {" ".join(command)} "$@"\n')
        path.chmod(0o755)

    def try_out(self, command: str, **replaced: str) -> str:
        """Run a command of the page with other values; its output."""
        assert command in PAGE
        self.ran.append(command)
        for old, new in replaced.items():
            assert old in command, old
            command = command.replace(old, new)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}", "STORE": self.store},
            capture_output=True,
            text=True,
            timeout=40,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    if shutil.which("jq") is None:
        pytest.skip("there is no jq here")
    server, environment = redis_server()
    programs = tmp_path / "programs"
    programs.mkdir()
    made = Shell(tmp_path, programs)
    made.program("valkey-cli", str(server.parent / "redis-cli"), LD_LIBRARY_PATH=environment["LD_LIBRARY_PATH"])
    made.program("valkey-server", server_binary())
    made.program("mcp-sidecar", sys.executable, "-m", "sidecar", PYTHONPATH=str(Path(__file__).parents[2]))
    yield made
    if made.port:
        with redis.Redis(port=made.port) as client:
            client.shutdown(nosave=True, now=True, force=True)


def test_the_page_has_the_commands_that_are_tested():
    assert len(commands("Back up")) == 2
    assert len(commands("Restore")) == 8
    assert len(commands("What an older copy gives back or forgets")) == 4


async def test_a_restored_copy_gives_back_and_forgets_what_the_page_says(tmp_path: Path, shell: Shell):
    port = free_port()
    with contextlib.closing(StoreServer(durable=True, options=("--port", str(port))).start()) as source:
        async with rig(tmp_path, source, policy=POLICY) as running:
            await running.account(credits=10)
            await running.grant()
            shell.store = f"redis://127.0.0.1:{port}"
            await asyncio.to_thread(shell.try_out, commands("Back up")[0])
            assert (await running.call("reveal_contacts", contacts("a", "b", "c", "d"))).code is None
            (spent,) = await running.recorded()
            await running.revoke()
            assert (await running.call("list_taxonomy")).code == "consent_revoked"
            shutil.copy(running.lines, tmp_path / "sidecar.log")
            source_url = source.url
    await asyncio.to_thread(restored, shell, source_url, spent["ts"])


def restored(shell: Shell, source_url: str, spent_at: str) -> None:
    port = free_port()
    shell.store = f"redis://127.0.0.1:{port}"
    *restoring, unpack, verify = commands("Restore")
    for command in restoring:
        shell.try_out(command, **({"6379": str(port)} if "6379" in command else {}))
        shell.port = port if command.startswith("valkey-server") else shell.port
    config = shell.folder / "config.yaml"
    config.write_text(config.read_text().replace(source_url, shell.store))
    with redis.Redis(port=port, decode_responses=True) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert list((shell.folder / "data" / "appendonlydir").iterdir())
        repaired(shell, client, verify, spent_at)
    assert "tar" in unpack
    for command in commands("After a failover"):
        shell.try_out(command)


def repaired(shell: Shell, client: Any, verify: str, spent_at: str) -> None:
    def stored() -> tuple[str, str]:
        return client.hget(ADA.ledger, "balance:contact"), client.hget(ADA.consent("ada", "cli-1"), "status")

    assert "1 account verified: 0 with differences" in shell.try_out(verify)
    assert stored() == ("10", "granted"), "four were spent, and the client was revoked"

    listed, revoke, spend, verify_again = commands("What an older copy gives back or forgets")
    before = f"{spent_at[:-5]}.000Z"
    assert shell.try_out(listed, **{"2026-11-30T02:00:00.000Z": before}) == "ada\tcontact\t4\n"
    shell.try_out(revoke)
    shell.try_out(spend)
    shell.try_out(verify_again)
    assert client.hget(ADA.ledger, "balance:contact") == "6"
    assert client.hget(ADA.client("cli-1"), "status") == "revoked"


def said(shell: Shell, *words: str) -> str:
    done = subprocess.run(
        [shell.programs / "mcp-sidecar", *words], cwd=shell.folder, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_copy_of_the_embedded_store_is_its_folder(tmp_path: Path, shell: Shell):
    shutil.copytree(Path(__file__).parents[2] / "policies", tmp_path / "policies")
    (tmp_path / "config.yaml").write_text(
        "resource: http://127.0.0.1:8080/mcp\nlisten: 127.0.0.1:8080\nadmin: 127.0.0.1:9090\n"
        "backend: {url: http://127.0.0.1:8000/mcp}\nissuers: [{issuer: https://example.com}]\n"
        "store: {url: embedded, directory: var/store}\npolicies: policies/\n"
    )
    said(shell, "credits", "grant", "ada", "contact", "10", "--create")
    shell.try_out(commands("Back up")[1])
    said(shell, "credits", "spend", "ada", "contact", "4")
    shutil.rmtree(tmp_path / "var" / "store")
    shell.try_out(commands("Restore")[-2])
    shell.try_out(commands("Restore")[-1])
    assert "contact: 10 left" in said(shell, "credits", "show", "ada")
