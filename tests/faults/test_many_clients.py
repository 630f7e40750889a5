"""Many clients, two sidecars and a faulty network to the store: every call costs what the table says."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from sidecar.cli import main as mcp_sidecar
from tests.support.attempts import Attempt, Ending, complaints
from tests.support.backend import (
    Backend,
    Behaviour,
    Turn,
    default,
    hang_up,
    http,
    input_required,
    reset,
    rpc_error,
    sse,
    tool_error,
    truncated,
)
from tests.support.processes import Accounts, Json, accounts, paid_policy, wait_for
from tests.support.rig import LEGACY, MODERN, Reply, Rig, rig, second_sidecar
from tests.support.store import FaultProxy, StoreServer

pytestmark = pytest.mark.timeout(300)

CLIENTS, CALLS = 16, 25
INCLUDED = ("hour", 100)
"""Credits of the plan, which are spent before the balance."""
_ENDS: tuple[Behaviour, ...] = (
    *(8 * [default()]),
    *(2 * [sse({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})]),
    *(2 * [sse({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}, ids=True, response=False)]),
    *(sse(response=False), tool_error(), rpc_error(), input_required(), http(500), http(404)),
    *(http(200, b"not json"), reset(), hang_up(), truncated()),
)


def backend(dice: random.Random) -> Backend:
    """A server of sessions whose tools end in any way, after a while."""

    async def behave(turn: Turn) -> None:
        await asyncio.sleep(dice.random() * 0.02)
        await dice.choice(_ENDS)(turn)

    made = Backend(sessions=True)
    made.on("reveal_contacts", behave)
    made.on("enrich_shopify_domains", behave)
    return made


@pytest.fixture
def ada(own_server: StoreServer) -> Iterator[Accounts]:
    with accounts(own_server.path, 300) as made:
        yield made


@dataclass(slots=True)
class Crowd:
    """Clients of two sidecars that share an account."""

    dice: random.Random
    sidecars: list[Rig]
    sessions: list[str]
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1_000_000))
    attempts: list[Attempt] = field(default_factory=list)
    results: int = 0

    async def client(self) -> None:
        """Call again and again, however it ends; while the store is away, calls do not count."""
        made = 0
        while made < CALLS:
            which = self.dice.randrange(2)
            items = [f"item-{self.dice.randrange(60)}" for _ in range(self.dice.randint(1, 4))]
            once = self.dice.random() < 0.6
            attempt = await self._attempt(self.sidecars[which], self.sessions[which], tuple(dict.fromkeys(items)), once)
            self.attempts.append(attempt)
            self.results += attempt.ending is Ending.RESULT
            if attempt.reply is not None and attempt.reply.status == 503:
                await asyncio.sleep(0.02)
            else:
                made += 1

    async def _attempt(self, sidecar: Rig, session: str, items: tuple[str, ...], once: bool) -> Attempt:
        """One call: read to its end, or broken off, or cancelled."""
        number = next(self.ids)
        revision = self.dice.choice([MODERN, LEGACY])
        tool, argument = ("reveal_contacts", "contact_ids") if once else ("enrich_shopify_domains", "domains")
        headers = {"Mcp-Session-Id": session} if revision == LEGACY else None
        call = asyncio.create_task(
            sidecar.call(tool, {argument: list(items)}, revision=revision, id_=number, headers=headers)
        )
        end = self.dice.random()
        patience = self.dice.random() * 0.05 if end < 0.2 else None
        cancelled = end > 0.9 and headers is not None
        reply: Reply | None = None
        try:
            if cancelled:
                said = {"requestId": number}
                await sidecar.post("notifications/cancelled", said, revision=LEGACY, headers=headers)
            async with asyncio.timeout(patience):  # a client that loses patience disconnects
                reply = await call
        except (TimeoutError, aiohttp.ClientError):
            call.cancel()
        return Attempt(items if once else (), len(items), reply, cancelled)

    async def disturbed(self, ways: list[FaultProxy], ada: Accounts) -> None:
        """Run every client while the ways to the store fail, and while others change the account."""
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(self.client()) for _ in range(CLIENTS)]
            troubles = [group.create_task(self._trouble(way)) for way in ways]
            troubles.append(group.create_task(self._outside(ada)))
            await asyncio.wait(clients)
            for trouble in troubles:
                trouble.cancel()

    async def _trouble(self, way: FaultProxy) -> None:
        """One fault after the other; none before calls have got through again, however busy the machine is."""
        while True:
            enough = self.results + self.dice.randrange(15)
            while self.results < enough:  # noqa: ASYNC110 - any of the clients may be the next
                await asyncio.sleep(0.01)
            async with self._fault(way):
                await asyncio.sleep(self.dice.random() * 0.15)

    @asynccontextmanager
    async def _fault(self, way: FaultProxy) -> AsyncIterator[None]:
        kind = self.dice.choice(["delay", "drop_replies", "drop_requests", "cut_on_reply", "cut", "refuse"])
        if kind == "cut":
            way.cut()
        elif kind == "refuse":
            await way.refuse()
        else:
            setattr(way, kind, self.dice.random() * 0.05 if kind == "delay" else True)
        try:
            yield
        finally:
            way.drop_replies = way.drop_requests = way.cut_on_reply = False
            way.delay = 0.0
            if kind == "refuse":
                await way.listen()
            elif kind.startswith("drop"):
                way.cut()  # what was dropped is missing: on a real network nothing comes after it, either

    async def _outside(self, ada: Accounts) -> None:
        """Another program grants and spends; the account holder withdraws the consent and gives it again."""
        deeds: list[Callable[[], object]] = [
            lambda: ada.grant(self.dice.randrange(40)),
            lambda: ada.spend(self.dice.randrange(10), included=INCLUDED),
            lambda: ada.consent(granted=False),
        ]
        while True:
            self.dice.choice(deeds)()
            await asyncio.sleep(self.dice.random() * 0.05)
            ada.consent(granted=True)
            await asyncio.sleep(self.dice.random() * 0.15)


@asynccontextmanager
async def two_sidecars(
    folder: Path, server: StoreServer, dice: random.Random
) -> AsyncIterator[tuple[list[Rig], list[FaultProxy]]]:
    """Each with a way of its own to the store."""
    other = folder / "other"
    other.mkdir()
    async with (
        FaultProxy(server.path) as one,
        FaultProxy(server.path) as two,
        rig(
            folder,
            server,
            policy=paid_policy(included=INCLUDED),
            scripted=backend(dice),
            store_url=one.url,
        ) as first,
        second_sidecar(first, other, store_url=two.url) as second,
    ):
        yield [first, second], [one, two]


async def at_rest(sidecars: list[Rig], ada: Accounts) -> set[str]:
    """Wait until every call is over and its settle has arrived; then end the leases of what may still be resumed.

    Gives those calls.

    Leases are longer than this test: every sidecar that is alive has settled itself.
    """
    async with asyncio.timeout(90):
        for each in sidecars:
            await ready(each)
            while each.sidecar.pipeline.in_flight:  # noqa: ASYNC110 - calls go on without their clients
                await asyncio.sleep(0.01)
            await each.sidecar.store.outbox.drain()
        left = ada.look().holds
        assert {call: hold for call, hold in left.items() if "deferred" not in hold} == {}
        ada.end_leases()
        while ada.look().holds:
            await sidecars[0].call("get_usage")  # any script of the account resolves what is overdue
    return set(left)


@pytest.mark.parametrize("seed", range(3))
async def test_every_call_costs_what_the_table_says(tmp_path: Path, own_server: StoreServer, ada: Accounts, seed: int):
    dice = random.Random(seed)
    async with two_sidecars(tmp_path, own_server, dice) as (sidecars, ways):
        crowd = Crowd(dice, sidecars, [await each.session() for each in sidecars])
        with ada.watched():  # the equation holds at every look
            await crowd.disturbed(ways, ada)
            deferred = await at_rest(sidecars, ada)
            seen = ada.look()
        words = ["usage", "ada", "--verify", "--config", str(sidecars[0].config)]
        assert await asyncio.to_thread(mcp_sidecar, words) == 0
        assert seen.counters.keys() >= {"quota:requests:day", "quota:rows:hour", "included:contact:hour"}
        ended = [entry for _, entry in seen.entries if entry["event"] in ("settled", "released")]
        assert complaints(crowd.attempts, ended) == []
        # Who got an item has paid, or found it paid.
        got = {item for each in crowd.attempts if each.ending is Ending.RESULT for item in each.items}
        assert got <= seen.paid
        assert {entry["call"] for entry in ended if "expired" in entry} == deferred
        # The log says what the store says, for all that a sidecar has settled.
        costs = {entry["call"]: int(entry["credit:contact"]) for entry in ended}
        await wait_for(lambda: costs.keys() <= lines(sidecars).keys())
        logged = {call: (line["credits"] or {}).get("contact", 0) for call, line in lines(sidecars).items()}
        assert logged == dict.fromkeys(logged, 0) | {call: cost for call, cost in costs.items() if call not in deferred}
        # No item was paid twice.
        reveals = {call for call, line in lines(sidecars).items() if line["tool"] == "reveal_contacts"}
        assert sum(cost for call, cost in costs.items() if call in reveals) == len(seen.paid)
    # It was worth it: calls came through, some were refused, and some clients left.
    endings = Counter(each.ending for each in crowd.attempts)
    assert len(crowd.attempts) >= CLIENTS * CALLS
    assert all(endings[each] >= 10 for each in Ending), endings


def lines(sidecars: list[Rig]) -> dict[str, Json]:
    """The log's line of each call."""
    return {line["request_id"]: line for each in sidecars for line in each.calls}


async def ready(sidecar: Rig) -> None:
    """Wait until it can be used again."""
    async with asyncio.timeout(60):
        while (await sidecar.ready())[0] != 200:  # noqa: ASYNC110 - asked from outside, where no event can be set
            await asyncio.sleep(0.01)
