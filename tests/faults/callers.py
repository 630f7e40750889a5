"""Callers that call again and again, each call paying one credit for an item that was not paid before."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sidecar.cli import main as mcp_sidecar
from tests.support.processes import Accounts, House, SidecarProcess, succeeded, wait_for
from tests.support.rig import Reply


async def reveal(built: House, sidecar: SidecarProcess, account: str, *items: str) -> Reply:
    return await built.call(sidecar, "reveal_contacts", {"contact_ids": list(items)}, account=account)


async def resolved(books: Accounts) -> None:
    """Wait until no call of the account is open: an admission whose answer was lost is given back without a line."""
    await wait_for(lambda: not books.look().holds)


async def command(built: House, *words: str) -> tuple[int, str]:
    """Run one of the commands as an operator does; its status and what it printed."""
    output = io.StringIO()

    def run() -> int:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            return mcp_sidecar([*words, "--config", str(built.config)])

    return await asyncio.to_thread(run), output.getvalue()


@dataclass(slots=True)
class Callers:
    """Answers to the callers of one account, and the seconds that the slowest took."""

    built: House
    sidecar: SidecarProcess
    account: str
    replies: list[tuple[str, Reply]] = field(default_factory=list)
    slowest: float = 0.0
    count: int = 0

    @property
    def bought(self) -> set[str]:
        """The items of the calls that succeeded."""
        return {item for item, reply in self.replies if succeeded(reply)}

    @property
    def refusals(self) -> set[tuple[int, str | None]]:
        return {(reply.status, reply.code) for _, reply in self.replies if not succeeded(reply)}

    @asynccontextmanager
    async def calling(self, callers: int = 4) -> AsyncIterator[None]:
        """Callers at work; what they have begun is ended before this ends."""
        over = asyncio.Event()

        async def work() -> None:
            while not over.is_set():
                self.count += 1
                item = f"{self.account}-{self.count}"
                started = time.monotonic()
                reply = await reveal(self.built, self.sidecar, self.account, item)
                self.slowest = max(self.slowest, time.monotonic() - started)
                self.replies.append((item, reply))
                await asyncio.sleep(0 if succeeded(reply) else 0.05)

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(work())
            try:
                yield
            finally:
                over.set()

    async def succeeding(self, more: int = 10) -> None:
        """Wait until so many further calls have succeeded."""
        enough = len(self.bought) + more
        await wait_for(lambda: len(self.bought) >= enough)

    async def settled(self) -> None:
        """Wait until the store has acknowledged what became of every call."""
        await wait_for(lambda: len(self.sidecar.events("call")) == len(self.replies))

    async def refused(self) -> None:
        """Wait until a further call was refused."""
        enough = len(self.replies) - len(self.bought)
        await wait_for(lambda: len(self.replies) - len(self.bought) > enough)
