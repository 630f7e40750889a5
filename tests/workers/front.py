"""Two sidecars behind HAProxy, each with a config of its own, so that one can be replaced by another build."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from bench.machine import PROXY_CORE, started
from bench.peers.haproxy import PACKAGES
from bench.programs import MissingError, of_debian
from tests.support.backend import Backend
from tests.support.processes import House, SidecarProcess, house, wait_for
from tests.support.store import free_port

NAMES = ("one", "two")
# Without retries, which would hide that a sidecar has closed its port too early.
CONFIG = """
global
    stats socket {socket} level admin
defaults
    mode http
    retries 0
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    timeout check 5s
frontend mcp
    bind 127.0.0.1:{port}
    default_backend sidecars
backend sidecars
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
    default-server check inter 200ms fall 2 rise 1
{servers}
"""


class OtherBuild(SidecarProcess):
    """A sidecar of another build, in a Python of its own.

    Args:
        tree: folder of its package.
        config: its config.
        log: where its lines go.
    """

    def __init__(self, tree: Path, config: Path, log: Path) -> None:
        self.log, self.url, self.admin, self._status = log, "", "", None
        program = "import sys; from sidecar.cli import main; sys.exit(main())"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", program, "serve", "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": str(tree)},  # its workers find the package there, too
            )
        self.pid = self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()


@dataclass(slots=True)
class Front:
    """HAProxy with its sidecars; it is called as one.

    Attributes:
        url: of the resource, through HAProxy.
        configs: of the sidecars, by name.
        running: the sidecars, by name.
    """

    built: House
    url: str
    configs: dict[str, Path]
    runtime: Path
    running: dict[str, SidecarProcess] = field(default_factory=dict)

    async def start(self, name: str, tree: Path | None = None) -> None:
        """Start a sidecar, of this build or of the one in `tree`, and wait until HAProxy sends calls to it."""
        config, number = self.configs[name], len(self.built.processes)
        if tree is None:
            process = replace(self.built, config=config).launch()
        else:
            process = OtherBuild(tree, config, self.built.folder / f"log-{number}.jsonl")
            self.built.processes.append(process)
        self.running[name] = await process.listening()
        await self.built.until_ready(process)
        self.tell(f"set server sidecars/{name} state ready")
        await wait_for(lambda: f"sidecars,{name}," in self._up(), within=60)

    async def stop(self, name: str, *, drain: bool = False) -> None:
        """Stop a sidecar with SIGTERM.

        Args:
            name: of the sidecar.
            drain: HAProxy first stops to send it new calls, as for a build without `shutdown_delay`.
        """
        process = self.running.pop(name)
        if drain:
            self.tell(f"set server sidecars/{name} state maint")
            await wait_for(lambda: self._current(name) == 0, within=60)
        process.terminate()
        assert await process.ended() == 0

    async def versions(self, name: str) -> set[str]:
        """Return the versions of a sidecar's processes, once all of its workers serve."""
        process = self.running[name]
        async with asyncio.timeout(120):
            while True:
                _, body = await self.built.ready(process)
                if body["checks"].get("workers", "ok") == "ok":
                    break
                await asyncio.sleep(0.05)
        async with self.built.http.get(f"{process.admin}/metrics") as answer:
            return set(re.findall(r'^mcp_sidecar_build_info\{.*version="([^"]+)"', await answer.text(), re.M))

    def tell(self, command: str) -> str:
        """Send one command to HAProxy's runtime API."""
        with socket.socket(socket.AF_UNIX) as connected:
            connected.settimeout(10)
            connected.connect(str(self.runtime))
            connected.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connected.recv(65536), b"")).decode()

    def _up(self) -> str:
        return "\n".join(line for line in self.tell("show stat").splitlines() if line.split(",")[17:18] == ["UP"])

    def _current(self, name: str) -> int:
        [line] = [each for each in self.tell("show stat").splitlines() if each.startswith(f"sidecars,{name},")]
        return int(line.split(",")[4])


@contextmanager
def haproxy(folder: Path, port: int, ports: dict[str, tuple[int, int]]) -> Iterator[Path]:
    try:
        program = of_debian("haproxy", PACKAGES, "usr/sbin/haproxy")
    except MissingError as missing:
        pytest.skip(str(missing))
    servers = "\n".join(
        f"    server {name} 127.0.0.1:{listen} check port {admin}" for name, (listen, admin) in ports.items()
    )
    runtime, config = folder / "haproxy.sock", folder / "haproxy.cfg"
    config.write_text(CONFIG.format(socket=runtime, port=port, servers=servers))
    with started([program.path, "-db", "-f", config], port, core=PROXY_CORE, env=program.env):
        yield runtime


@asynccontextmanager
async def front(folder: Path, store_url: str, **changes: Any) -> AsyncIterator[Front]:
    """Start HAProxy, without a sidecar yet."""
    port = free_port()
    ports = {name: (free_port(), free_port()) for name in NAMES}
    async with house(folder, store_url, backend=Backend(sessions=True), **changes) as built:
        configs = {}
        for name, (listen, admin) in ports.items():
            made = yaml.safe_load(built.config.read_text())
            configs[name] = folder / f"{name}.yaml"
            made |= {"listen": f"127.0.0.1:{listen}", "admin": f"127.0.0.1:{admin}"}
            configs[name].write_text(yaml.safe_dump(made))
        with haproxy(folder, port, ports) as runtime:
            yield Front(built, f"http://127.0.0.1:{port}/mcp", configs, runtime)


@dataclass(slots=True)
class Listener:
    """Client with one session, whose GET stream it opens again whenever it ends.

    Attributes:
        opened: number of streams that were opened.
        comments: last comments of the streams that have ended.
    """

    made: Front
    opened: int = 0
    comments: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Keep a stream open until the block ends."""
        task = asyncio.create_task(self._listen())
        try:
            await wait_for(lambda: self.opened > 0, within=60)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self) -> None:
        headers = {
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {self.made.built.issuer.mint(subject='ada')}",
            "MCP-Protocol-Version": "2025-06-18",
        }
        http = self.made.built.http
        params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        async with http.post(self.made.url, json=message, headers=headers) as answer:
            headers["Mcp-Session-Id"] = answer.headers["Mcp-Session-Id"]
        while True:
            async with http.get(self.made.url, headers=headers) as stream:
                assert stream.status == 200, await stream.text()
                self.opened += 1
                text = ""
                try:
                    async for line in stream.content:
                        text = line.decode() if line.startswith(b":") else text
                except aiohttp.ClientError as error:
                    text = str(error)
                self.comments.append(text.strip())
