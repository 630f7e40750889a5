"""One run: steps by chance, then quiet; and what must be true when everything is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.ledger.simulation.account import Account
from tests.ledger.simulation.calls import Phase
from tests.ledger.simulation.rules import Rules, ViolationError, must
from tests.ledger.simulation.world import STEPS, World

_Steps = tuple[tuple[int, Callable[[World], None]], ...]
_STEPS: Final[_Steps] = (
    (26, World.begin),
    (56, World.arrive),
    (48, World.answer),
    (44, World.proceed),
    (20, World.connect),
    (10, World.deliver_again),
    (8, World.resume),
    (8, World.spend),
    (8, World.tick),
    (12, World.notice),
    (8, World.restart),
    (3, World.cancel),
    (2, World.write),
    (2, World.sweep),
    (2, World.replicate),
)
_FAULTS: Final[_Steps] = (
    (5, World.tear),
    (2, World.crash),
    (1, World.stop),
    (2, World.wait),
    (1, World.restart_store),
    (1, World.forget_scripts),
    (1, World.fail_over),
    (1, World.flush),
    (1, World.fill),
    (1, World.set_back),
)
_WEATHER: Final = (0.15, 0.4, 1.0)
"""How likely a fault is to come about: between many of them hardly a call gets anywhere."""
_TABLE: Final = [step for weight, step in (*_STEPS, *_FAULTS) for _ in range(weight)]
_MISHAPS: Final = frozenset(step for _, step in _FAULTS)
_PATIENCE: Final = 10_000


def failover_in(seed: int) -> bool:
    """Every fourth run has a replica that may be promoted without the last writes."""
    return seed % 4 == 3


def run(seed: int, rules: Rules | None = None, tell: Callable[[str], None] | None = None) -> World:
    """Run one seed to its end.

    Args:
        seed: what decides everything.
        rules: others than the product's.
        tell: given each step in words.

    Raises:
        ViolationError: something was not as it must be; it says how to see that run again.
    """
    world = World(seed, rules or Rules(), failover_in(seed), tell)
    weather = _WEATHER[seed % len(_WEATHER)]
    try:
        while world.steps < STEPS:
            world.steps += 1
            step = _TABLE[int(world.dice.random() * len(_TABLE))]
            if step not in _MISHAPS or world.dice.random() < weather:
                step(world)
        quiet(world)
    except ViolationError as wrong:
        again = f"python -m tests.ledger.simulation --seed {seed} --trace"
        raise ViolationError(f"seed {seed}, step {world.steps}: {wrong}\n  {again}") from None
    return world


def quiet(world: World) -> None:
    """Every fault ends; what is on its way arrives; then leases run out, and all must be resolved and add up."""
    world.say("--- from here on nothing goes wrong")
    world.store.full = False
    _settle_down(world)
    for account in world.store.accounts.values():
        account.verify(world.store.now, int(world.dice.random() * (len(account.journal.entries) + 1)))
    _only_the_dead_hold(world)
    world.store.pass_time(max([0, *(end - world.store.now for end in _lease_ends(world))]))
    for account_name, account in world.store.accounts.items():
        for each in world.sidecars:
            each.sweep(account_name)
        _settle_down(world)
        must(not account.state.holds, "a hold that nothing resolves:", account.state.holds)
        must(not account.index, "requests of calls that are over:", account.index)
        account.verify(world.store.now)
        must(not account.state.imbalance(), "sums:", account.state.imbalance())
        _nothing_is_lost_but_by_the_store(world, account)
    _everybody_got_what_they_paid(world)


def _settle_down(world: World) -> None:
    for each in world.sidecars:
        if each.leaving:
            world.end(each)
        if not each.alive:
            each.start()
    for _ in range(_PATIENCE):
        for wire, sidecar in list(world.wires):
            if not wire.whole:
                world.lose(wire, sidecar)
        for step in (World.connect, World.arrive, World.answer, World.proceed, World.deliver_again):
            step(world)
        if not _busy(world):
            return
    raise ViolationError("it does not come to rest")


def _busy(world: World) -> bool:
    waiting = any(wire.requests or wire.owed for wire, _ in world.wires)
    for sidecar in world.sidecars:
        waiting |= bool(sidecar.again) or sidecar.wire is None
        waiting |= any(call.phase is not Phase.OVER for call in sidecar.calls.values())
    return waiting


def _only_the_dead_hold(world: World) -> None:
    """A lease is for those who cannot speak any more: whoever lives has told the store."""
    orphaned = {call.id for call in world.calls if call.orphaned}
    for account in world.store.accounts.values():
        left = account.books.open.keys() - orphaned - account.books.deferred
        must(world.lossy or not left, "a living owner leaves it to the lease:", sorted(left))


def _nothing_is_lost_but_by_the_store(world: World, account: Account) -> None:
    """What `usage --verify` says was lost had been acknowledged; and nothing is lost by a store that loses nothing."""
    lost = account.books.lost
    must(world.lossy or not lost, "settled without a reservation:", sorted(lost))
    must(lost <= world.store.admitted, "lost, and never acknowledged:", sorted(lost - world.store.admitted))
    world.met["settled after the store had lost them"] += len(lost)


def _lease_ends(world: World) -> list[int]:
    accounts = world.store.accounts.values()
    return [hold.until for account in accounts for hold in account.books.open.values()]


def _everybody_got_what_they_paid(world: World) -> None:
    for call in world.calls:
        must(call.phase is Phase.OVER or call.orphaned, "a call without an end:", call)
        call.judge(world.store.accounts[call.account].books, world.passed, world.lossy)
    for operation in world.writer.operations:
        applied = world.store.accounts[operation.command.account].applied.get(operation.command.operation, 0)
        must(applied <= 1, "applied more than once:", operation)
        told = applied == 1 or operation.answer != "done" or world.lossy
        must(told, "an operation that was done, and was not:", operation)
