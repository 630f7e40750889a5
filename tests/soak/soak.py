"""Two sidecars and a durable store under load, killed and stopped at random moments; then the accounts are verified."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import redis

from tests.soak.auditor import Auditor
from tests.support.attempts import Attempt, Ending, complaints
from tests.support.backend import (
    Backend,
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
from tests.support.processes import Accounts, House, SidecarProcess, accounts, house, paid_policy
from tests.support.rig import LEGACY, MODERN, Reply
from tests.support.store import StoreServer

CLIENTS = 10
GRANTED = 1_000_000
ITEMS = 3000
ENOUGH = 20
"""Calls that must have brought a result, or nothing was shown."""
TIMEOUT, MARGIN = "2s", 1.0
INCLUDED = ("minute", 60)
"""Credits of the plan: every minute some calls are paid by these, then by both, then by the balance."""
_ENDS: tuple[Behaviour, ...] = (
    *(12 * [default()]),
    sse({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}),
    *(sse(response=False), tool_error(), rpc_error(), http(500), http(404), reset(), hang_up(), truncated()),
)


Fault = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Report:
    """Counts of a run, and the faults of the ledger, if any.

    Attributes:
        facts: counts, for people.
        wrong: each in a sentence.
    """

    facts: dict[str, int]
    wrong: list[str]

    def __str__(self) -> str:
        lines = [f"  {count:8} {what}" for what, count in self.facts.items()]
        return "\n".join([*lines, *(f"WRONG: {each}" for each in self.wrong)])


@dataclass(slots=True)
class Soak:
    """One run."""

    dice: random.Random
    built: House
    server: StoreServer
    ada: Accounts
    auditor: Auditor
    sidecars: list[SidecarProcess | None] = field(default_factory=lambda: [None, None])
    attempts: list[Attempt] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    results: int = 0
    over: bool = False
    operations: int = 0
    taken: int = 0

    async def run(self, seconds: float) -> Report:
        """Break things for so long, then let everything come to rest and add it up."""
        for slot in range(len(self.sidecars)):
            await self._start(slot)
        with self.auditor.watching():
            async with asyncio.TaskGroup() as group:
                for _ in range(CLIENTS):
                    group.create_task(self._client())
                group.create_task(self._outside())
                await self._break_things(asyncio.get_running_loop().time() + seconds)
                self.over = True
            await self._rest()
        return await self._report()

    # --- what happens ----------------------------------------------------------------------------

    async def _client(self) -> None:
        while not self.over:
            await asyncio.sleep(self.dice.random() * 0.05)
            sidecar = self.dice.choice(self.sidecars)
            if sidecar is not None:
                await self._call(sidecar)

    async def _call(self, sidecar: SidecarProcess) -> None:
        items = tuple(dict.fromkeys(f"item-{self.dice.randrange(ITEMS)}" for _ in range(self.dice.randint(1, 4))))
        once, revision = self.dice.random() < 0.6, self.dice.choice([MODERN, LEGACY])
        patience = self.dice.random() * 0.1 if self.dice.random() < 0.1 else None
        reply: Reply | None = None
        try:
            async with asyncio.timeout(patience):
                reply = await (
                    self.built.reveal(sidecar, *items, revision=revision)
                    if once
                    else self.built.enrich(sidecar, len(items), revision=revision)
                )
        except (TimeoutError, aiohttp.ClientError):
            self.done["calls that broke off"] += 1
        self.attempts.append(Attempt(items if once else (), len(items), reply))
        self.results += self.attempts[-1].ending is Ending.RESULT

    async def _outside(self) -> None:
        """Another program spends; while it gets no answer it asks again, under the same id."""
        while not self.over:
            await asyncio.sleep(self.dice.random() * 0.2)
            self.operations += 1
            credits, operation = self.dice.randrange(5), f"outside-{self.operations}"
            while True:
                try:
                    if await asyncio.to_thread(self.ada.spend, credits, operation, INCLUDED):
                        self.taken += credits
                    break
                except redis.RedisError:
                    self.done["outside spends asked again"] += 1
                    await asyncio.sleep(0.05)

    async def _break_things(self, end: float) -> None:
        """Until that time, and on a busy machine until each has happened once and some calls have got through."""
        while self.results < ENOUGH or asyncio.get_running_loop().time() < end:
            kills: list[Fault] = [self._kill_sidecar, self._kill_sidecar, self._kill_store]
            faults = [*kills, self._stop_sidecar, self._stop_store]
            self.dice.shuffle(faults)
            for fault in faults:
                await asyncio.sleep(self.dice.random() * 1.5)
                await fault()

    async def _start(self, slot: int) -> None:
        self.sidecars[slot] = await self.built.launch().listening()

    async def _kill_sidecar(self) -> None:
        slot = self.dice.randrange(len(self.sidecars))
        sidecar, self.sidecars[slot] = self.sidecars[slot], None
        if sidecar is not None:
            await sidecar.kill()
            self.done["kill -9 of a sidecar"] += 1
        await self._start(slot)

    async def _kill_store(self) -> None:
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)
        self.done["kill -9 of the store"] += 1

    async def _stop_sidecar(self) -> None:
        sidecar = self.dice.choice(self.sidecars)
        if sidecar is not None:
            sidecar.pause()
            await asyncio.sleep(self.dice.random() * 1.5)
            sidecar.resume()
            self.done["SIGSTOP of a sidecar"] += 1

    async def _stop_store(self) -> None:
        self.server.pause()
        await asyncio.sleep(self.dice.random() * 1.5)
        self.server.resume()
        self.done["SIGSTOP of the store"] += 1

    # --- when it is over -------------------------------------------------------------------------

    async def _rest(self) -> None:
        """Any script of the account resolves what is overdue: call something free until no hold is left."""
        sidecar = self.sidecars[0]
        assert sidecar is not None
        await self.built.until_ready(sidecar)
        async with asyncio.timeout(120):
            while True:
                await self.built.call(sidecar, "get_usage")
                looks = self.auditor.looks
                while self.auditor.looks < looks + 2:  # noqa: ASYNC110 - it is another thread
                    await asyncio.sleep(0.02)
                if not self.auditor.open:
                    return

    async def _report(self) -> Report:
        verified = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sidecar", "usage", "ada", "--verify", "--config", str(self.built.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await verified.communicate()
        wrong = [] if verified.returncode == 0 else [f"usage --verify: {said.decode()}"]
        wrong += [*self.auditor.wrong, *self.auditor.forgotten()]
        wrong += complaints(self.attempts, self.auditor.endings)
        facts = dict(self.done)
        wrong += self._sums(facts)
        return Report(facts, wrong)

    def _sums(self, facts: dict[str, int]) -> list[str]:
        """Compare the clients' results with the journal, as far as the table allows."""
        endings, paid = {entry["call"]: entry for entry in self.auditor.endings}, self.auditor.paid()
        spent, taken = self.auditor.sum("settled"), self.auditor.sum("spend")
        plain = [each for each in self.attempts if not each.items]
        # Of a call whose id its client knows the journal says the cost; of any other it may be all or nothing.
        known = [each for each in plain if each.call is not None]
        low = sum(int(endings[each.call]["credit:contact"]) for each in known if each.call in endings)
        high = low + sum(each.count for each in plain if each.call is None)
        results = [each for each in self.attempts if each.ending is Ending.RESULT]
        got = {item for each in results for item in each.items}
        unpaid = [each for each in results if each.call is not None and endings[each.call]["event"] == "released"]
        wrong = [] if got <= paid else [f"items that were delivered unpaid: {sorted(got - paid)[:10]}"]
        if not low <= spent - len(paid) <= high:
            wrong.append(f"calls of plain credits cost {spent - len(paid)}, not from {low} to {high}")
        if taken != self.taken:
            wrong.append(f"others have spent {self.taken}, the journal says {taken}")
        if any(each.items for each in unpaid):
            wrong.append("an item's result was released")
        facts |= {
            "calls": len(self.attempts),
            "of them with a result": len(results),
            "of them free": sum(each.ending is Ending.FREE for each in self.attempts),
            "credits spent by calls": spent,
            "items paid": len(paid),
            "credits spent by others": taken,
            "of all these included": self.auditor.included(),
            "calls counted": sum(int(entry.get("quota:requests", 0)) for entry in self.auditor.endings),
            "rows counted": sum(int(entry.get("quota:rows", 0)) for entry in self.auditor.endings),
            "entries of the journal": len(self.auditor.entries),
            "holds resolved by their lease": sum("expired" in entry for entry in self.auditor.endings),
            "settles that came too late": len(self.auditor.of("late")),
            "results that on_unknown: release gave away": len(unpaid),
            "looks at all sums": self.auditor.looks,
        }
        return wrong


def _backend(dice: random.Random) -> Backend:
    async def behave(turn: Turn) -> None:
        await asyncio.sleep(dice.random() * dice.choice([0.01, 0.05, 0.3]))
        await dice.choice(_ENDS)(turn)

    made = Backend()
    made.on("reveal_contacts", behave)
    made.on("enrich_shopify_domains", behave)
    return made


async def soak(folder: Path, seconds: float, seed: int) -> Report:
    """Run once.

    Args:
        folder: an empty one, for config, policy and logs.
        seconds: for how long things are broken.
        seed: of what is broken, and of what is called; when exactly, the machine decides.
    """
    dice = random.Random(seed)
    server = StoreServer(durable=True).start()
    try:
        with accounts(server.path, GRANTED) as ada:
            auditor = Auditor(server.path, "ada")
            built = house(
                folder, server.url, policy=paid_policy(TIMEOUT, INCLUDED), margin=MARGIN, backend=_backend(dice)
            )
            async with built as everything:
                try:
                    return await Soak(dice, everything, server, ada, auditor).run(seconds)
                finally:
                    auditor.close()
    finally:
        server.close()
