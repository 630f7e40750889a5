"""A sidecar with several workers, as a process of its own, and callers that count what fails."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.embedded import kill_servers_in
from tests.support.processes import House, Served, SidecarProcess, house, paid_policy, succeeded, wait_for
from tests.support.rig import Json, Reply

WORKERS = 2
FREE = "\n  list_taxonomy: {scopes: []}\n"


@dataclass(slots=True)
class Crewed:
    """A supervisor with its workers.

    Attributes:
        built: the parts round it.
        process: the supervisor.
    """

    built: House
    process: SidecarProcess

    def pid(self, worker: int) -> int:
        """The process of a worker that was started last."""
        return int([line for line in self.process.events("worker_started") if line["worker"] == worker][-1]["pid"])

    def kill(self, worker: int) -> None:
        os.kill(self.pid(worker), signal.SIGKILL)

    async def all_serve(self) -> None:
        """Wait until every worker serves and is ready."""
        async with asyncio.timeout(120):
            while True:
                status, body = await self.built.ready(self.process)
                if status == 200 and body["checks"].get("workers") == "ok":
                    return
                await asyncio.sleep(0.05)

    async def replaced(self, worker: int, before: int) -> None:
        """Wait until a worker has another process than before, and it serves."""
        await wait_for(lambda: self.pid(worker) != before, within=120)
        await self.all_serve()

    async def metrics(self) -> dict[str, float]:
        """Every series of one scrape."""
        async with self.built.http.get(f"{self.process.admin}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    async def calls_counted(self) -> float:
        """Calls of tools in `mcp_sidecar_requests_total`."""
        found = await self.metrics()
        return sum(
            value for name, value in found.items() if re.match(r"mcp_sidecar_requests_total\{.*tools/call", name)
        )

    async def on_new_connections(self, count: int, tool: str = "get_usage") -> list[Reply]:
        """Call a tool over connections of their own, which the kernel spreads among the workers."""
        replies = []
        for _ in range(count):
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
                replies.append(await replace(self.built, http=http).call(self.process, tool))
        return replies

    def save(self, text: str) -> None:
        """Save the policy as editors do, in one step."""
        new = self.built.folder / "policy.new"
        new.write_text(text)
        new.replace(self.built.folder / "policy.yaml")


@dataclass(slots=True)
class Load:
    """Callers that go on whatever happens.

    Attributes:
        replies: answers.
        faults: calls without an answer.
    """

    built: House
    process: Served
    replies: list[Reply] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    count: int = 0

    @property
    def failed(self) -> list[Any]:
        """Calls that did not return their tool's result."""
        return [*self.faults, *((each.status, each.body) for each in self.replies if not succeeded(each))]

    async def further(self, count: int = 20) -> None:
        """Wait for further answers."""
        enough = len(self.replies) + count
        await wait_for(lambda: len(self.replies) >= enough, within=120)

    @asynccontextmanager
    async def calling(self, callers: int = 4) -> AsyncIterator[None]:
        """Callers at work until the block ends; each pays a credit for an item of its own."""
        over = asyncio.Event()

        async def work() -> None:
            while not over.is_set():
                self.count += 1
                try:
                    arguments = {"contact_ids": [f"item-{self.count}"]}
                    reply = await self.built.call(self.process, "reveal_contacts", arguments)
                except aiohttp.ClientError as error:
                    self.faults.append(error)
                else:
                    self.replies.append(reply)

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(work())
            try:
                yield
            finally:
                over.set()


@asynccontextmanager
async def crewed(folder: Path, store_url: str, **changes: Any) -> AsyncIterator[Crewed]:
    """Start a sidecar with two workers, and wait until both serve."""
    given: Json = {"workers": WORKERS, "policy": paid_policy() + FREE, **changes}
    try:
        async with house(folder, store_url, **given) as built:
            made = Crewed(built, await built.start())
            await made.all_serve()
            yield made
    finally:
        kill_servers_in(folder)
