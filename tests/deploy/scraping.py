"""A real Prometheus (Debian's) that scrapes sidecars, and its API."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.support.debian import promtool
from tests.support.store import free_port

JOB = "mcp-sidecar"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server."""

    url: str
    http: aiohttp.ClientSession

    async def api(self, path: str, **parameters: str) -> Any:
        """Ask its API; an error of the query fails the test."""
        async with self.http.get(f"{self.url}/api/v1/{path}", params=parameters) as answer:
            document = await answer.json()
        assert document["status"] == "success", (parameters, document)
        return document["data"]

    async def query(self, expression: str) -> list[Any]:
        """The series of an instant query, now."""
        return list((await self.api("query", query=expression))["result"])

    async def until(self, expression: str) -> None:
        """Wait until a query returns a series."""
        try:
            async with asyncio.timeout(60):
                while not await self.query(expression):  # noqa: ASYNC110 - a process elsewhere cannot set an event
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"no series: {expression}") from None


@contextlib.asynccontextmanager
async def scraping(folder: Path, target: str, *, rules: Path | None = None) -> AsyncIterator[Prometheus]:
    """Run a Prometheus that scrapes a target once a second."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [] if rules is None else [str(rules)],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(promtool().with_name("prometheus")),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
            stdout=log,
            stderr=log,
        )
        try:
            async with aiohttp.ClientSession() as http:
                made = Prometheus(f"http://127.0.0.1:{port}", http)
                await _ready(made, process)
                yield made
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _ready(made: Prometheus, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while True:
            assert process.returncode is None, "see prometheus.log"
            with contextlib.suppress(aiohttp.ClientError):
                async with made.http.get(f"{made.url}/-/ready") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
