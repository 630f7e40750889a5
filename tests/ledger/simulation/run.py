"""One run of the simulation: random steps with faults, recovery without faults, final checks."""

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
_FAULT_PROBABILITIES: Final = (0.15, 0.4, 1.0)
"""Probability that a chosen fault happens, one per seed: with many faults few calls make progress."""
_WEIGHTED_STEPS: Final = [step for weight, step in (*_STEPS, *_FAULTS) for _ in range(weight)]
_FAULT_STEPS: Final = frozenset(step for _, step in _FAULTS)
_MAX_ROUNDS: Final = 10_000


def has_failover(seed: int) -> bool:
    """Return True for every fourth seed: its run may promote a replica that lacks the last writes."""
    return seed % 4 == 3


def run(seed: int, rules: Rules | None = None, trace: Callable[[str], None] | None = None) -> World:
    """Run one seed to its end.

    Args:
        seed: determines every step.
        rules: simulated functions; None for those of the sidecar.
        trace: called with a line of text for each step.

    Raises:
        ViolationError: an invariant was violated; the message has the command that repeats the run.
    """
    world = World(seed, rules or Rules(), has_failover(seed), trace)
    fault_probability = _FAULT_PROBABILITIES[seed % len(_FAULT_PROBABILITIES)]
    try:
        while world.steps < STEPS:
            world.steps += 1
            step = _WEIGHTED_STEPS[int(world.dice.random() * len(_WEIGHTED_STEPS))]
            if step not in _FAULT_STEPS or world.dice.random() < fault_probability:
                step(world)
        recover(world)
    except ViolationError as wrong:
        again = f"python -m tests.ledger.simulation --seed {seed} --trace"
        raise ViolationError(f"seed {seed}, step {world.steps}: {wrong}\n  {again}") from None
    return world


def recover(world: World) -> None:
    """End every fault, deliver every message, expire every lease; then check accounts, calls and operations."""
    world.say("--- from here on nothing goes wrong")
    world.store.full = False
    _drain(world)
    for account in world.store.accounts.values():
        account.verify(world.store.now, int(world.dice.random() * (len(account.journal.entries) + 1)))
    _check_owners_of_open_holds(world)
    world.store.pass_time(max([0, *(end - world.store.now for end in _lease_ends(world))]))
    for account_name, account in world.store.accounts.items():
        for each in world.sidecars:
            each.sweep(account_name)
        _drain(world)
        must(not account.state.holds, "holds that were never resolved:", account.state.holds)
        must(not account.index, "index entries of calls that are over:", account.index)
        account.verify(world.store.now)
        must(not account.state.imbalance(), "balance and holds differ from the total:", account.state.imbalance())
        _check_losses(world, account)
    _check_calls_and_operations(world)


def _drain(world: World) -> None:
    """Restart dead sidecars, reconnect, and deliver messages until no call or message is pending."""
    for each in world.sidecars:
        if each.leaving:
            world.end(each)
        if not each.alive:
            each.start()
    for _ in range(_MAX_ROUNDS):
        for wire, sidecar in list(world.wires):
            if not wire.whole:
                world.lose(wire, sidecar)
        for step in (World.connect, World.arrive, World.answer, World.proceed, World.deliver_again):
            step(world)
        if not _has_pending_work(world):
            return
    raise ViolationError("calls or messages are pending forever")


def _has_pending_work(world: World) -> bool:
    waiting = any(wire.requests or wire.owed for wire, _ in world.wires)
    for sidecar in world.sidecars:
        waiting |= bool(sidecar.again) or sidecar.wire is None
        waiting |= any(call.phase is not Phase.OVER for call in sidecar.calls.values())
    return waiting


def _check_owners_of_open_holds(world: World) -> None:
    """Check that only orphaned or deferred calls have open holds: live sidecars have resolved all others."""
    orphaned = {call.id for call in world.calls if call.orphaned}
    for account in world.store.accounts.values():
        left = account.books.open.keys() - orphaned - account.books.deferred
        must(world.lossy or not left, "a live owner left holds to their leases:", sorted(left))


def _check_losses(world: World, account: Account) -> None:
    """Check that every hold reported as lost had been acknowledged, and that only a lossy store loses holds."""
    lost = account.books.lost
    must(world.lossy or not lost, "settled without a reservation:", sorted(lost))
    must(lost <= world.store.admitted, "reported as lost, but never acknowledged:", sorted(lost - world.store.admitted))
    world.met["settled after the store had lost them"] += len(lost)


def _lease_ends(world: World) -> list[int]:
    accounts = world.store.accounts.values()
    return [hold.until for account in accounts for hold in account.books.open.values()]


def _check_calls_and_operations(world: World) -> None:
    """Check the cost of every call, and that every operation was applied at most once, and not lost."""
    for call in world.calls:
        must(call.phase is Phase.OVER or call.orphaned, "a call that never ended:", call)
        call.judge(world.store.accounts[call.account].books, world.passed, world.lossy)
    for operation in world.writer.operations:
        applied = world.store.accounts[operation.command.account].applied.get(operation.command.operation, 0)
        must(applied <= 1, "applied more than once:", operation)
        consistent = applied == 1 or operation.answer != "done" or world.lossy
        must(consistent, "an acknowledged operation was not applied:", operation)
