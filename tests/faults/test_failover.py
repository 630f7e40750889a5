"""Failover to a replica: calls go on, replicated credits are spent once, and lost writes are reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.callers import Callers, command, resolved, reveal
from tests.support.backend import Backend, after, default
from tests.support.processes import House, SidecarProcess, accounts, house, succeeded, wait_for
from tests.support.topology import SERVICE, ClusterServers, SentinelServers, TcpServer, await_state, replicates

GRANTED = 100_000
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and the replica that takes its place, with an account that they hold.

    Attributes:
        promote: has the replica take over while the primary lives.
        promoted: waits until everybody calls the replica the primary.
    """

    url: str
    primary: TcpServer
    replica: TcpServer
    account: str
    promote: Callable[[], None]
    promoted: Callable[[], None]

    def in_step(self) -> None:
        """Wait until the replica has everything."""
        await_state(lambda: replicates(self.replica, self.primary), "the replica has everything")

    def cut(self) -> None:
        """From now on nothing reaches the replica."""
        self.in_step()
        self.replica.pause()
        self.primary.cut_replicas()

    def fail_over(self) -> None:
        """Kill the primary; the replica takes over with what it has."""
        self.primary.kill()
        self.replica.resume()
        self.promoted()


@pytest.fixture(params=["sentinel", "cluster"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "sentinel":
        with SentinelServers() as group:
            first = group.sentinels[0]
            yield Pair(
                group.url,
                group.primary,
                group.replica,
                "ada",
                lambda: first.ask("SENTINEL", "FAILOVER", SERVICE, "COORDINATED"),
                group.await_promotion,
            )
        return
    with ClusterServers(replicas=1, node_timeout=1500) as cluster:
        [replica] = cluster.replicas
        rest = (*cluster.primaries[1:], replica)

        def promoted() -> None:
            await_state(lambda: replica.info("replication")["role"] == "master", "the replica is promoted")
            cluster.await_agreement(*rest)

        account = cluster.account_on(cluster.primaries[0])
        yield Pair(cluster.url, cluster.primaries[0], replica, account, lambda: cluster.promote(replica), promoted)


def granted(pair: Pair, credits: int) -> None:
    with accounts(pair.primary.path, credits, pair.account):
        pair.in_step()


async def verified(built: House, pair: Pair) -> tuple[int, str]:
    return await command(built, "usage", pair.account, "--verify")


async def test_a_promotion_in_the_middle_of_calls_loses_nothing(tmp_path: Path, pair: Pair):
    granted(pair, GRANTED)
    async with house(tmp_path, pair.url) as built:
        sidecar = await built.start()
        load = Callers(built, sidecar, pair.account)
        async with load.calling():
            await load.succeeding()
            await asyncio.to_thread(pair.promote)
            await asyncio.to_thread(pair.promoted)
            await load.succeeding()
        await load.settled()
        with accounts(pair.replica.path, account=pair.account) as ada:
            await resolved(ada)
            seen = ada.look()
        assert load.refusals <= {(503, "store_unavailable")}
        assert load.bought <= seen.paid
        assert seen.balance + len(seen.paid) == GRANTED
        assert seen.balanced


async def test_a_killed_primary_is_replaced_and_no_call_is_paid_twice(tmp_path: Path, pair: Pair):
    granted(pair, GRANTED)
    async with house(tmp_path, pair.url) as built:
        sidecar = await built.start()
        load = Callers(built, sidecar, pair.account)
        async with load.calling():
            await load.succeeding()
            pair.primary.kill()
            await load.refused()
            await asyncio.to_thread(pair.promoted)
            await load.succeeding()
        await load.settled()
        with accounts(pair.replica.path, account=pair.account) as ada:
            seen = ada.look()  # of a settle that was lost the hold may be open until its lease ends
        assert load.refusals == {(503, "store_unavailable")}
        assert seen.balanced
        # The last writes may be lost; the others were charged once, and every loss is reported.
        status, output = await verified(built, pair)
        lost = [line for line in sidecar.events("call") if "lost the hold" in str(line.get("notes"))]
        assert (status == 0) == (not lost), output
        assert all(line["request_id"] in output for line in lost)


async def admitted_and_lost(built: House, pair: Pair, sidecar: SidecarProcess, work: asyncio.Event) -> str:
    """A call that a primary admits and its replica never hears of; the id under which it is known."""
    await asyncio.to_thread(pair.cut)
    call = asyncio.create_task(reveal(built, sidecar, pair.account, "a", "b"))
    await wait_for(lambda: len(built.backend.received) == 1)
    with accounts(pair.primary.path, account=pair.account) as ada:
        assert len(ada.look().holds) == 1
    await asyncio.to_thread(pair.fail_over)
    with accounts(pair.replica.path, account=pair.account) as ada:
        assert ada.look().holds == {}
    await built.until_ready(sidecar)
    work.set()
    reply = await call
    assert succeeded(reply)  # the backend has done it
    return reply.headers["X-Request-Id"]


async def test_a_reservation_that_the_failover_has_lost_is_named(tmp_path: Path, pair: Pair):
    granted(pair, 10)
    work, backend = asyncio.Event(), Backend()
    backend.once(after(work, default()))
    async with house(tmp_path, pair.url, backend=backend) as built:
        sidecar = await built.start()
        request = await admitted_and_lost(built, pair, sidecar, work)
        await wait_for(lambda: bool(sidecar.events("call")))
        [line] = sidecar.events("call")
        assert (line["level"], line["credits"], line["request_id"]) == ("warning", None, request)
        assert line["notes"] == ["the store lost the hold before its lease ended; nothing was charged"]
        async with built.http.get(f"{sidecar.admin}/metrics") as answer:
            assert "mcp_sidecar_lost_holds_total 1.0" in (await answer.text()).splitlines()
        with accounts(pair.replica.path, account=pair.account) as ada:
            assert (ada.look().balance, ada.look().spent) == (10, 0)
        status, output = await verified(built, pair)
        assert status == 1
        assert f"call {request}" in output
        assert output.count("expected") == 1
        # And it goes on: what the new primary knows is right.
        assert succeeded(await reveal(built, sidecar, pair.account, "c"))


async def test_the_last_credit_is_spent_once_on_what_the_new_primary_knows(tmp_path: Path, pair: Pair):
    granted(pair, 1)
    async with house(tmp_path, pair.url) as built:
        first, second = await asyncio.gather(built.start(), built.start())
        await asyncio.to_thread(pair.cut)
        assert succeeded(await reveal(built, first, pair.account, "lost"))
        with accounts(pair.primary.path, account=pair.account) as ada:
            await wait_for(lambda: not ada.look().holds)
            assert ada.look().balance == 0
        refused = await reveal(built, second, pair.account, "refused")
        assert refused.code == "insufficient_credits"
        await asyncio.to_thread(pair.fail_over)
        await asyncio.gather(built.until_ready(first), built.until_ready(second))
        with accounts(pair.replica.path, account=pair.account) as ada:
            assert ada.look().balance == 1  # it never heard that the credit was spent
            replies: list[bool] = []
            while not any(replies):
                asked = (
                    reveal(built, sidecar, pair.account, f"{len(replies)}-{number}")
                    for number, sidecar in enumerate((first, second) * 10)
                )
                answers = await asyncio.gather(*asked)
                assert {each.code for each in answers if not succeeded(each)} <= {
                    "insufficient_credits",
                    "store_unavailable",
                }
                replies += map(succeeded, answers)
            await wait_for(lambda: not ada.look().holds)
            assert replies.count(True) == 1
            assert (ada.look().balance, ada.look().spent) == (0, 1)
        assert (await verified(built, pair))[0] == 0


async def test_a_primary_that_must_have_a_replica_refuses_what_would_be_lost(tmp_path: Path, pair: Pair):
    granted(pair, GRANTED)
    for server in (pair.primary, pair.replica):
        server.ask("CONFIG", "SET", "min-replicas-max-lag", "1")
    pair.primary.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    async with house(tmp_path, pair.url) as built:
        sidecar = await built.start()
        load = Callers(built, sidecar, pair.account)
        async with load.calling(1):
            await load.succeeding()
            pair.replica.pause()
            await load.refused()
            pair.replica.resume()
            await load.succeeding()  # what was owed has arrived before
        await load.settled()
        with accounts(pair.primary.path, account=pair.account) as ada:
            await resolved(ada)
            seen = ada.look()
        assert load.refusals == {(503, "store_unavailable")}
        assert (seen.paid, seen.balance) == (load.bought, GRANTED - len(load.bought))
        assert (await verified(built, pair))[0] == 0


async def test_pending_settles_of_the_dead_primary_are_sent_to_the_new_one(tmp_path: Path, pair: Pair):
    granted(pair, 10)
    work, backend = asyncio.Event(), Backend(contacts=["a"])  # of two that are asked for
    backend.once(after(work, default()))
    async with house(tmp_path, pair.url, backend=backend) as built:
        sidecar = await built.start()
        call = asyncio.create_task(reveal(built, sidecar, pair.account, "a", "b"))
        await wait_for(lambda: len(backend.received) == 1)
        await asyncio.to_thread(pair.in_step)
        pair.primary.kill()
        work.set()
        assert succeeded(await call)
        await asyncio.to_thread(pair.promoted)
        with accounts(pair.replica.path, account=pair.account) as ada:
            await wait_for(lambda: not ada.look().holds)
            assert (ada.look().balance, ada.look().spent, ada.look().paid) == (9, 1, {"a"})
        await wait_for(lambda: bool(sidecar.events("call")))
        assert sidecar.events("call")[0]["credits"] == {"contact": 1}
        assert (await verified(built, pair))[0] == 0
