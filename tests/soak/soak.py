"""Two sidecars under half of the load that they take, while everything round them breaks; then the books are verified.

One part runs on a durable store that is killed and stopped, a shorter one on a primary and its replica, which take over
from each other. The callers, the backend and the store share the machine with the sidecars: the load is what all of
them bear together, and not what a sidecar can take.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.auditor import Auditor
from tests.soak.faults import faults_for
from tests.soak.load import INCLUDED, Load, bad_days
from tests.soak.measures import Measures
from tests.soak.site import HOSTS, NAME, PATIENT, STEADY, SentinelStore, Site, moving_names
from tests.support.attempts import Ending, complaints
from tests.support.backend import Backend, default
from tests.support.processes import accounts, house, paid_policy
from tests.support.store import StoreServer
from tests.support.topology import SentinelServers

GRANTED = 10_000_000
ENOUGH = 20
"""Calls that must have brought a result, or nothing was shown."""
TIMEOUT, MARGIN = "2s", 1.0
BOTH = 60.0
"""Seconds from which on a run has a part with failovers."""
_FAILOVERS = 0.25  # of a run
_CAPACITY = 0.1  # of a run, at most 15 seconds


@dataclass(frozen=True, slots=True)
class Report:
    """Counts of a run, and the faults that it has found, if any.

    Attributes:
        facts: counts, for people.
        rows: figures that are no counts.
        wrong: each in a sentence.
    """

    facts: Counter[str]
    rows: list[tuple[str, str]]
    wrong: list[str]

    def __str__(self) -> str:
        shown = [*self.rows, *((what, str(count)) for what, count in self.facts.items())]
        lines = ["| | |", "| --- | ---: |", *(f"| {what} | {value} |" for what, value in shown)]
        lines.append(f"| wrong answers, lost credits and other faults | {len(self.wrong)} |")
        return "\n".join([*lines, *(f"WRONG: {each}" for each in self.wrong)])


@dataclass(slots=True)
class Soak:
    """One part of a run, on one store."""

    site: Site
    dice: random.Random
    load: Load
    measures: Measures
    facts: Counter[str] = field(default_factory=Counter)

    async def measure(self, seconds: float) -> float:
        """Return the results a second that this load brings while nothing is broken."""
        self.site.answer(default())
        found = await self.load.capacity(seconds)
        self.load.seconds.clear()
        return found

    async def run(self, rate: float, seconds: float) -> None:
        """Offer the load and break things for so long, then let everything come to rest."""
        self.site.answer(bad_days(self.dice))
        watching = asyncio.create_task(self.measures.watch())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.load.offer(rate))
                group.create_task(self.load.spend())
                await self._break_things(asyncio.get_running_loop().time() + seconds)
                self.load.over = True
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await self._rest()

    async def _break_things(self, end: float) -> None:
        """Until that time, and on a busy machine until each has happened once and some calls have got through."""
        while self.load.results < ENOUGH or asyncio.get_running_loop().time() < end:
            faults = faults_for(self.site)
            self.dice.shuffle(faults)
            for fault in faults:
                await asyncio.sleep(self.dice.random() * 1.5)
                await fault(self.site, self.dice)
                self.site.forget_requests()

    async def _rest(self) -> None:
        """Any script of the account resolves what is overdue: call something free until no hold is left."""
        sidecar = self.site.sidecars[STEADY]
        assert sidecar is not None
        auditor = self.site.auditor
        await self.site.built.until_ready(sidecar)
        async with asyncio.timeout(120):
            while True:
                await self.site.built.call(sidecar, "get_usage")
                looks = auditor.looks
                while auditor.looks < looks + 2:  # noqa: ASYNC110 - it is another thread
                    await asyncio.sleep(0.02)
                if not auditor.open:
                    return

    # --- when it is over -------------------------------------------------------------------------

    async def report(self) -> list[str]:
        """Add everything up; return what is wrong."""
        verified = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sidecar", "usage", "ada", "--verify", "--config", str(self.site.built.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await verified.communicate()
        auditor = self.site.auditor
        wrong = [] if verified.returncode == 0 else [f"usage --verify: {said.decode()}"]
        wrong += [*auditor.wrong, *auditor.forgotten(), *self.load.wrong]
        wrong += complaints(self.load.attempts, auditor.endings)
        wrong += [*self._sums(), *self._logs()]
        self.facts.update(self.site.done)
        return wrong

    def _sums(self) -> Iterator[str]:
        """Compare the clients' results with the journal, as far as the table allows."""
        auditor, attempts = self.site.auditor, self.load.attempts
        endings, paid = {entry["call"]: entry for entry in auditor.endings}, auditor.paid()
        spent, taken = auditor.sum("settled"), auditor.sum("spend")
        plain = [each for each in attempts if not each.items]
        # Of a call whose id its client knows the journal says the cost; of any other it may be all or nothing.
        known = [each for each in plain if each.call is not None]
        low = sum(int(endings[each.call]["credit:contact"]) for each in known if each.call in endings)
        high = low + sum(each.count for each in plain if each.call is None)
        results = [each for each in attempts if each.ending is Ending.RESULT]
        got = {item for each in results for item in each.items}
        ended = [(each, endings[each.call]) for each in results if each.call is not None and each.call in endings]
        unpaid = [each for each, entry in ended if entry["event"] == "released"]
        if not got <= paid:
            yield f"items that were delivered unpaid: {sorted(got - paid)[:10]}"
        if not low <= spent - len(paid) <= high:
            yield f"calls of plain credits cost {spent - len(paid)}, not from {low} to {high}"
        if taken != self.load.taken:
            yield f"others have spent {self.load.taken}, the journal says {taken}"
        if any(each.items for each in unpaid):
            yield "an item's result was released"
        self.facts.update(
            {
                "calls": len(attempts),
                "of them with a result": len(results),
                "of them free": sum(each.ending is Ending.FREE for each in attempts),
                "credits spent by calls": spent,
                "items paid": len(paid),
                "credits spent by others": taken,
                "of all these included": auditor.included(),
                "calls counted": sum(int(entry.get("quota:requests", 0)) for entry in auditor.endings),
                "rows counted": sum(int(entry.get("quota:rows", 0)) for entry in auditor.endings),
                "entries of the journal": len(auditor.entries),
                "holds resolved by their lease": sum("expired" in entry for entry in auditor.endings),
                "settles that came too late": len(auditor.of("late")),
                "results that on_unknown: release gave away": len(unpaid),
                "looks at all sums": auditor.looks,
            }
        )

    def _logs(self) -> Iterator[str]:
        """Check every log: each line is whole but the last one of a killed sidecar, and none is of a fault of ours."""
        for process in self.site.built.processes:
            lines = process.log.read_text().splitlines()
            for number, line in enumerate(lines, start=1):
                try:
                    found = json.loads(line)
                except ValueError:
                    if number < len(lines):
                        yield f"{process.log.name}:{number} is not whole: {line[:80]}"
                    continue
                self.facts["log lines"] += 1
                if found.get("code") == "internal" or found["event"] in ("background_task_failed", "reload_failed"):
                    yield f"{process.log.name}:{number}: {line[:300]}"
                self.facts["reloads done"] += found["event"] == "reloaded"


async def soak(folder: Path, seconds: float, seed: int, workers: int = 1) -> Report:
    """Run once.

    Args:
        folder: an empty one, for config, policy and logs.
        seconds: for how long load is offered.
        seed: of what is broken, and of what is called; when exactly, the machine decides.
        workers: of each sidecar.
    """
    dice = random.Random(seed)
    for name in ("killed", "replaced"):
        (folder / name).mkdir()
    facts: Counter[str] = Counter()
    rows, wrong = [], []
    first = seconds * (1 - _FAILOVERS) if seconds >= BOTH else seconds
    measuring = min(15.0, seconds * _CAPACITY)
    async with _part(folder / "killed", dice, workers, killed=True) as part:
        capacity = await part.measure(measuring)
        rate = max(2.0, capacity / 2)
        await part.run(rate, first - measuring)
        wrong += await part.report()
        facts.update(part.facts)
        rows += [
            ("results a second with nothing broken, of all together", f"{capacity:.0f}"),
            ("calls a second while things broke", f"{rate:.0f}"),
            *part.measures.rows(),
            ("backend's name moved", "yes" if part.site.names is not None else "not possible here"),
        ]
        wrong += part.measures.wrong()
    if first < seconds:
        async with _part(folder / "replaced", dice, workers, killed=False) as part:
            await part.run(rate, seconds - first)
            wrong += await part.report()
            facts.update(part.facts)
    return Report(facts, rows, wrong)


@asynccontextmanager
async def _part(folder: Path, dice: random.Random, workers: int, *, killed: bool) -> AsyncIterator[Soak]:
    """Start everything: with a store that is killed, or with one that is replaced."""
    async with contextlib.AsyncExitStack() as stack:
        if killed:
            store: StoreServer = StoreServer(durable=True).start()
            stack.callback(store.close)
            sentinels, url = None, store.url
        else:
            group = stack.enter_context(SentinelServers(lines=PATIENT))
            sentinels, url, store = SentinelStore(group), group.url, group.primary
        ada = stack.enter_context(accounts(store.path, GRANTED))
        auditor = Auditor(store.path, "ada")
        stack.callback(auditor.close)
        names = await stack.enter_async_context(moving_names(folder))
        backends = [Backend()]
        built = await stack.enter_async_context(
            house(
                folder,
                url,
                policy=paid_policy(TIMEOUT, INCLUDED),
                margin=MARGIN,
                backend=backends[0],
                backend_url=lambda made: made.url if names is None else made.url.replace(HOSTS[0], NAME),
                backend_settings={"max_connection_age": "1s"},
                workers=workers,
            )
        )
        if names is not None:
            backends.append(await stack.enter_async_context(Backend(host=HOSTS[1], port=backends[0].port)))
        site = Site(built, ada, auditor, backends, store if killed else None, sentinels, names)
        stack.callback(site.close)
        for slot in range(len(site.sidecars)):
            await site.start(slot)
        for sidecar in built.processes:
            await built.until_ready(sidecar)
        load = Load(site, dice)
        measures = Measures(lambda: site.sidecars[STEADY], seconds=load.seconds)
        with auditor.watching():
            yield Soak(site, dice, load, measures)
