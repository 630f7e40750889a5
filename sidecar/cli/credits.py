"""`credits`: balance of an account's credits, in addition to the included credits of its plan."""

from __future__ import annotations

import argparse
import uuid
from typing import Any

from sidecar.cli.common import CommandError, Commands, UsageError, account_name, amount, command, emit
from sidecar.cli.common import verbs as add_verbs
from sidecar.cli.operator_store import Session, Target, with_store
from sidecar.cli.usage import known, pool_line, usage_of
from sidecar.policy.rules import Policy
from sidecar.store.commands import changes
from sidecar.store.commands.changes import CreditChange
from sidecar.store.commands.command import ChangeCode
from sidecar.workbench.loading import load

_DONE = {"grant": "granted", "spend": "spent", "set": "set to"}


def add(commands: Commands) -> None:
    """Add the command."""
    verbs = add_verbs(commands, "credits", "show and change credits")
    about = (
        (_show, "show", "show the credits of an account"),
        (_change, "grant", "add credits to the balance"),
        (_change, "spend", "spend credits, included ones first"),
        (_change, "set", "set the balance"),
    )
    for run, verb, text in about:
        parser = command(verbs, verb, run, text)
        parser.set_defaults(verb=verb)
        parser.add_argument("account", type=account_name, metavar="ACCOUNT")
        parser.add_argument("pool", metavar="POOL", nargs="?" if verb == "show" else None)
        parser.add_argument("--issuer", metavar="ID", help="required if several issuers are configured")
        if verb != "show":
            parser.add_argument("amount", type=amount, metavar="N")
            parser.add_argument("--create", action="store_true", help="create the record if the store has none")


def _pool(policy: Policy, pool: str | None) -> None:
    if pool is not None and pool not in policy.credits:
        raise UsageError(f"there is no pool of credits {pool!r}: {', '.join(policy.credits) or 'the policy has none'}")


def _show(arguments: argparse.Namespace) -> int:
    loaded = load(arguments.config, serving=False)
    policy = loaded.policy
    _pool(policy, arguments.pool)
    target = Target.of(arguments, loaded.settings)
    seen = with_store(loaded.settings, lambda session: known(session, target))
    pools = usage_of(seen, policy)["credits"]
    chosen = {pool: facts for pool, facts in pools.items() if arguments.pool in (None, pool)}
    emit(arguments, chosen, [pool_line(pool, facts) for pool, facts in chosen.items()] or ["no credits"])
    return 0


def _change(arguments: argparse.Namespace) -> int:
    loaded = load(arguments.config, serving=False)
    _pool(loaded.policy, arguments.pool)
    target = Target.of(arguments, loaded.settings)
    changed = with_store(loaded.settings, lambda session: _changed(session, target, loaded.policy, arguments))
    if changed.code is ChangeCode.UNKNOWN:
        raise CommandError(
            f"the store has no record of account {target}: create one with --create, "
            "or restore a deleted one with `account set --create`"
        )
    if changed.code is ChangeCode.TOO_LITTLE:
        raise CommandError(f"account {target} has too few {arguments.pool} credits: the balance is {changed.balance}")
    if changed.code is ChangeCode.TOO_MUCH:
        raise CommandError(
            f"the {arguments.pool} credits of account {target} would exceed the largest amount, 2^53 - 1"
        )
    _print(arguments, target, changed)
    return 0


async def _changed(session: Session, target: Target, policy: Policy, arguments: argparse.Namespace) -> CreditChange:
    included = None
    if arguments.verb == "spend" and policy.plans is not None:
        plan = (await session.inspect(target)).state.plan or policy.default_plan
        terms = policy.plans.get(plan) if plan else None
        included = terms.credits.get(arguments.pool) if terms else None
    change = changes.change_credits(
        target.issuer,
        target.account,
        arguments.verb,
        arguments.pool,
        arguments.amount,
        operation=f"cli:{uuid.uuid4()}",  # a retry after a lost answer has no further effect
        included=included,
        create=arguments.create,
    )
    return changes.credited(await session.run(change))


def _print(arguments: argparse.Namespace, target: Target, changed: CreditChange) -> None:
    document: dict[str, Any] = {
        "done": arguments.verb,
        "issuer": target.issuer,
        "account": target.account,
        "pool": arguments.pool,
        "amount": arguments.amount,
        "included": changed.included,
        "balance": changed.balance,
        "created": changed.code is ChangeCode.CREATED,
    }
    made = "; a record was created" if document["created"] else ""
    of = f" ({changed.included} of them included in the plan)" if changed.included else ""
    text = f"{_DONE[arguments.verb]} {arguments.amount} {arguments.pool}{of}: the balance is {changed.balance}{made}"
    emit(arguments, document, [f"account {target}: {text}"])
