"""Callers of a soak: first as fast as they can, to measure; then at half of that pace, whatever breaks."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import redis

from tests.soak.site import Site
from tests.support.attempts import Attempt, Ending
from tests.support.backend import (
    Behaviour,
    Turn,
    default,
    hang_up,
    http,
    reset,
    rpc_error,
    sse,
    tool_error,
    truncated,
)
from tests.support.processes import SidecarProcess
from tests.support.rig import LEGACY, MODERN, Reply

CLIENTS = 10
MOST = 200
"""Calls at one time; when so many wait, the next one is not made."""
ITEMS = 3000
INCLUDED = ("minute", 60)
"""Credits of the plan: every minute some calls are paid by these, then by both, then by the balance."""
EXPECTED = frozenset(
    {"store_unavailable", "overloaded", "backend_unavailable", "backend_timeout", "issuer_unavailable", None}
)
"""Codes that a call may be refused with while something is broken."""
_ENDS: tuple[Behaviour, ...] = (
    *(12 * [default()]),
    sse({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}),
    *(sse(response=False), tool_error(), rpc_error(), http(500), http(404), reset(), hang_up(), truncated()),
)


def bad_days(dice: random.Random) -> Behaviour:
    """Answer late and, now and then, in every wrong way."""

    async def behave(turn: Turn) -> None:
        await asyncio.sleep(dice.random() * dice.choice([0.01, 0.05, 0.3]))
        await dice.choice(_ENDS)(turn)

    return behave


@dataclass(slots=True)
class Load:
    """Calls of one run.

    Attributes:
        attempts: every call, as its client saw it.
        results: calls that brought a result.
        seconds: their latencies.
        wrong: answers that no call may have.
        taken: credits that another program has spent.
        over: ends the callers.
    """

    site: Site
    dice: random.Random
    attempts: list[Attempt] = field(default_factory=list)
    results: int = 0
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    taken: int = 0
    over: bool = False
    _operations: int = 0

    async def capacity(self, seconds: float) -> float:
        """Call as fast as `CLIENTS` can while nothing is broken; return results a second."""
        end = time.monotonic() + seconds
        before = self.results

        async def client() -> None:
            while time.monotonic() < end:
                await self._call(self.dice.choice([each for each in self.site.sidecars if each is not None]), None)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return (self.results - before) / seconds

    async def offer(self, rate: float) -> None:
        """Make so many calls a second, at random moments, until it is over."""
        async with asyncio.TaskGroup() as group:
            running: set[asyncio.Task[None]] = set()
            while not self.over:
                await asyncio.sleep(self.dice.expovariate(rate))
                sidecar = self.dice.choice(self.site.sidecars)
                if sidecar is None or len(running) >= MOST:
                    self.site.done["calls that were not made"] += 1
                    continue
                patience = self.dice.random() * 0.1 if self.dice.random() < 0.1 else None
                task = group.create_task(self._call(sidecar, patience))
                running.add(task)
                task.add_done_callback(running.discard)

    async def _call(self, sidecar: SidecarProcess, patience: float | None) -> None:
        items = tuple(dict.fromkeys(f"item-{self.dice.randrange(ITEMS)}" for _ in range(self.dice.randint(1, 4))))
        once, revision = self.dice.random() < 0.6, self.dice.choice([MODERN, LEGACY])
        reply: Reply | None = None
        began = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                reply = await (
                    self.site.built.reveal(sidecar, *items, revision=revision)
                    if once
                    else self.site.built.enrich(sidecar, len(items), revision=revision)
                )
        except (TimeoutError, aiohttp.ClientError):
            self.site.done["calls that broke off"] += 1
        made = Attempt(items if once else (), len(items), reply)
        self.attempts.append(made)
        if made.ending is Ending.RESULT:
            self.results += 1
            self.seconds.append(time.monotonic() - began)
        if reply is not None and (fault := fault_of(reply, made)):
            self.wrong.append(fault)

    async def spend(self) -> None:
        """Spend as another program does; while it gets no answer it asks again, under the same id."""
        while not self.over:
            await asyncio.sleep(self.dice.random() * 0.2)
            self._operations += 1
            credits, operation = self.dice.randrange(5), f"outside-{self._operations}"
            while True:
                try:
                    if await asyncio.to_thread(self.site.ada.spend, credits, operation, INCLUDED):
                        self.taken += credits
                    break
                except (redis.RedisError, ValueError):  # ValueError: closed, because another server has taken over
                    self.site.done["outside spends asked again"] += 1
                    await asyncio.sleep(0.05)


def fault_of(reply: Reply, made: Attempt) -> str | None:
    """Describe an answer that is none of its call: a refusal without a cause, or the result of another call."""
    final = made.final
    code = ((final.get("error") or {}).get("data") or {}).get("code") if final else _code(reply)
    if code not in EXPECTED:
        return f"a call was refused with {code}"
    if made.ending is not Ending.RESULT:
        return None
    data: Mapping[str, Any] = final["result"].get("structuredContent") or {}
    if made.items:
        return None if {each["id"] for each in data["contacts"]} == set(made.items) else "the contacts of another call"
    return None if len(data["rows"]) == made.count else "the rows of another call"


def _code(reply: Reply) -> str | None:
    try:
        return reply.code
    except (ValueError, AttributeError, TypeError):
        return None
