"""Concurrent calls over two sidecars that share a store: the sums are right whatever the outcome of each call."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.store.commands.keys import account_keys
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
from tests.support.processes import Accounts, accounts, house, succeeded, wait_for
from tests.support.rig import LEGACY, MODERN, Reply
from tests.support.store import StoreServer

pytestmark = pytest.mark.timeout(300)  # processes start slowly where many tests share a processor


@pytest.fixture
def poor(own_server: StoreServer) -> Iterator[Accounts]:
    with accounts(own_server.path, 1) as made:
        yield made


@pytest.fixture
def rich(own_server: StoreServer) -> Iterator[Accounts]:
    with accounts(own_server.path, 100_000) as made:
        yield made


@pytest.mark.parametrize("once", [True, False], ids=["items paid once", "plain credits"])
async def test_one_credit_buys_one_of_two_hundred_calls(
    tmp_path: Path, poor: Accounts, own_server: StoreServer, once: bool
):
    async with house(tmp_path, own_server.url) as built:
        sidecars = [built.launch(), built.launch()]
        for sidecar in sidecars:
            await built.until_ready(await sidecar.listening())
        with poor.watched():
            replies = await asyncio.gather(
                *(
                    built.reveal(sidecars[number % 2], f"item-{number}")
                    if once
                    else built.enrich(sidecars[number % 2], 1)
                    for number in range(200)
                )
            )
            await wait_for(lambda: not poor.look().holds)
            seen = poor.look()
        assert await built.verified()
        assert sum(succeeded(reply) for reply in replies) == 1
        assert Counter(refusal(reply) for reply in replies if not succeeded(reply)) == {NO_CREDIT_LEFT: 199}
        assert len(built.backend.executed) == 1
        assert (seen.balance, seen.held, seen.spent) == (0, 0, 1)
        assert [entry["event"] for _, entry in seen.entries] == ["settled"]
        with own_server.client() as client:  # and so it stands in the store, for every reader
            stored: Any = client.hgetall(account_keys("main", "ada").ledger)
        assert (stored["balance:contact"], stored["total:contact"]) == ("0", "0")


NO_CREDIT_LEFT = (200, True, "insufficient_credits", "This call costs 1 contact credits, and the account has 0.")


def refusal(reply: Reply) -> tuple[int, bool, str | None, str]:
    """The refusal as its client sees it: a result that a model can read."""
    result = reply.json["result"]
    return reply.status, result["isError"], reply.code, result["content"][0]["text"]


def misbehaving(dice: random.Random) -> Behaviour:
    """A backend that answers every call in one of many ways, after a while."""
    ends = [
        *(6 * [default()]),
        *(2 * [sse({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})]),
        sse(response=False),
        tool_error(),
        rpc_error(),
        input_required(),
        http(500),
        http(404),
        http(200, b"not json"),
        reset(),
        hang_up(),
        truncated(),
    ]

    async def behave(turn: Turn) -> None:
        await asyncio.sleep(dice.random() * 0.02)
        await dice.choice(ends)(turn)

    return behave


@pytest.mark.parametrize("seed", range(3))
async def test_every_hold_is_resolved_whatever_the_outcome_of_its_call(
    tmp_path: Path, rich: Accounts, own_server: StoreServer, seed: int
):
    dice = random.Random(seed)
    backend = Backend()
    behaviour = misbehaving(dice)
    backend.on("reveal_contacts", behaviour)
    backend.on("enrich_shopify_domains", behaviour)
    async with house(tmp_path, own_server.url, backend=backend) as built:
        sidecars = [built.launch(), built.launch()]
        for sidecar in sidecars:
            await built.until_ready(await sidecar.listening())
        got: set[str] = set()

        async def one() -> None:
            sidecar, revision = dice.choice(sidecars), dice.choice([MODERN, LEGACY])
            items = [f"item-{dice.randrange(40)}" for _ in range(dice.randint(1, 4))]
            once, patience = dice.random() < 0.7, dice.choice([None, None, None, dice.random() * 0.05])
            made = (
                built.reveal(sidecar, *items, revision=revision)
                if once
                else built.enrich(sidecar, len(items), revision=revision)
            )
            reply: Reply | BaseException
            try:
                async with asyncio.timeout(patience):  # a client that loses patience disconnects
                    reply = await made
            except (TimeoutError, aiohttp.ClientError) as gone:
                reply = gone
            if once and succeeded(reply):
                got.update(items)

        async def caller() -> None:
            for _ in range(15):
                await one()

        with rich.watched():
            calls = asyncio.gather(*(caller() for _ in range(20)))
            while not calls.done():
                assert await built.verified()  # in the middle of it all, too
            await calls
            await wait_for(lambda: not rich.look().holds)
            seen = rich.look()
            await wait_for(lambda: sum(len(sidecar.events("call")) for sidecar in sidecars) >= len(seen.entries))
    assert seen.balanced
    assert not [entry for _, entry in seen.entries if "expired" in entry]  # each by its own sidecar
    assert len(seen.entries) == len({entry["call"] for _, entry in seen.entries})  # and each once
    # No item was delivered unpaid or paid twice, and the log says what the store says.
    assert got <= seen.paid
    costs: Counter[str] = Counter()
    for line in (line for sidecar in sidecars for line in sidecar.events("call")):
        costs[line["tool"]] += (line["credits"] or {}).get("contact", 0)
    assert costs["reveal_contacts"] == len(seen.paid)
    assert costs.total() == seen.spent
    assert not backend.faults
