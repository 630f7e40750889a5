"""The serve command started as a program of its own, with descriptors, limits and name service of the test's choice."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.processes import House, wait_for
from tests.support.store import free_port


class Running:
    """One sidecar.

    Attributes:
        url: its resource.
        admin: its other listener.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, admin: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}/mcp"
        self.admin = f"http://127.0.0.1:{admin}"
        self.port, self.admin_port = port, admin

    async def ended(self) -> int:
        """Wait for its end; its exit status."""
        await wait_for(lambda: self.process.poll() is not None)
        return self.process.returncode

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def stops(self) -> bool:
        """Return if SIGTERM stops it gracefully."""
        self.signal(signal.SIGTERM)
        return await self.ended() == 0


def ports() -> dict[str, Any]:
    """Sections of a config with ports that are known before the sidecar says them."""
    return {"listen": f"127.0.0.1:{free_port()}", "admin": f"127.0.0.1:{free_port()}"}


@asynccontextmanager
async def running(
    built: House,
    addresses: dict[str, Any],
    *,
    stdout: int | Any,
    files: dict[str, Path] | None = None,
    descriptors: int | None = None,
) -> AsyncIterator[Running]:
    """Start a sidecar with a house's config and wait until it is ready.

    Args:
        built: the house.
        addresses: `ports()`, which the house was built with.
        stdout: a descriptor for its lines; standard error goes there, too.
        files: other files in place of the system's, such as /etc/hosts; needs root.
        descriptors: how many it may open.
    """
    command: Sequence[str] = [sys.executable, "-m", "sidecar", "serve", "--config", str(built.config)]
    if files:
        command = [*unshared(files), *command]

    def limit() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    process = subprocess.Popen(  # noqa: ASYNC220 - a fork
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stdout, preexec_fn=limit
    )
    made = Running(process, *(int(addresses[name].rpartition(":")[2]) for name in ("listen", "admin")))
    try:
        await until_ready(built.http, made)
        yield made
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


async def until_ready(http: aiohttp.ClientSession, sidecar: Running) -> None:
    async with asyncio.timeout(120):
        while True:
            assert sidecar.process.poll() is None, "it has ended"
            try:
                async with http.get(f"{sidecar.admin}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)


def unshared(files: dict[str, Path]) -> list[str]:
    """The words before a command that sees these files in place of the system's; skips the test where that fails."""
    tool = shutil.which("unshare")
    if tool is None or os.geteuid() != 0:
        pytest.skip("only root can give a process files of its own under /etc")
    mounts = " && ".join(f"mount --bind '{source}' '{target}'" for target, source in files.items())
    words = [tool, "--mount", "--propagation", "private", "sh", "-c", f'{mounts} && exec "$@"', "sh"]
    tried = subprocess.run([*words, "true"], capture_output=True, text=True, timeout=20)
    if tried.returncode:
        pytest.skip(f"no mounts can be made here: {tried.stderr.strip()}")
    return words
