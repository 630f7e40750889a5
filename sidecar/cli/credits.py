"""`credits`: balance of an account's credits, in addition to the included credits of its plan."""

from __future__ import annotations

import argparse
from typing import Any

from sidecar.cli.common import Commands, UsageError, account_name, amount, command, emit
from sidecar.cli.common import verbs as add_verbs
from sidecar.cli.store_access import AUTHOR, target_of, unless_unknown, with_store
from sidecar.cli.usage import pool_line
from sidecar.management.credit_changes import CreditOrder, CreditResult, CreditVerb, change_credits, check_pool
from sidecar.management.failures import ManagementError
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.management.usage_reading import read_usage, usage_of
from sidecar.policy.rules import Policy
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


def _show(arguments: argparse.Namespace) -> int:
    loaded = load(arguments.config, serving=False)
    policy = loaded.policy
    _check_pool(policy, arguments.pool)
    target = target_of(arguments, loaded.settings)
    seen = with_store(loaded.settings, lambda store: read_usage(store, target))
    pools = usage_of(seen, policy)["credits"]
    chosen = {pool: facts for pool, facts in pools.items() if arguments.pool in (None, pool)}
    emit(arguments, chosen, [pool_line(pool, facts) for pool, facts in chosen.items()] or ["no credits"])
    return 0


def _change(arguments: argparse.Namespace) -> int:
    loaded = load(arguments.config, serving=False)
    _check_pool(loaded.policy, arguments.pool)
    target = target_of(arguments, loaded.settings)
    changed = with_store(loaded.settings, lambda store: _changed(store, target, loaded.policy, arguments))
    _print(arguments, target, changed)
    return 0


def _check_pool(policy: Policy, pool: str | None) -> None:
    """Check the name before the store is asked."""
    try:
        if pool is not None:
            check_pool(policy, pool)
    except ManagementError as error:
        raise UsageError(str(error)) from error


async def _changed(store: OperatorStore, target: Target, policy: Policy, arguments: argparse.Namespace) -> CreditResult:
    order = CreditOrder(CreditVerb(arguments.verb), arguments.pool, arguments.amount, create=arguments.create)
    try:
        return await change_credits(store, target, order, policy=policy, by=AUTHOR)
    except ManagementError as error:
        hint = ": create one with --create, or restore a deleted one with `account set --create`"
        raise unless_unknown(error, hint) from error


def _print(arguments: argparse.Namespace, target: Target, changed: CreditResult) -> None:
    document: dict[str, Any] = {
        "done": arguments.verb,
        "issuer": target.issuer,
        "account": target.account,
        "pool": arguments.pool,
        "amount": arguments.amount,
        "included": changed.included,
        "balance": changed.balance,
        "created": changed.created,
    }
    made = "; a record was created" if document["created"] else ""
    of = f" ({changed.included} of them included in the plan)" if changed.included else ""
    text = f"{_DONE[arguments.verb]} {arguments.amount} {arguments.pool}{of}: the balance is {changed.balance}{made}"
    emit(arguments, document, [f"account {target}: {text}"])
