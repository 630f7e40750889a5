"""`account`: accounts in the store, with plan, status and their own limits."""

from __future__ import annotations

import argparse
from typing import Any

from sidecar.cli import overrides
from sidecar.cli.common import Commands, UsageError, account_name, command, emit, issuer_id, table
from sidecar.cli.common import verbs as add_verbs
from sidecar.cli.overrides import Override
from sidecar.cli.store_access import AUTHOR, target_of, unless_unknown, with_store
from sidecar.config.files import load_settings
from sidecar.management import account_records
from sidecar.management.account_records import AccountChange, AccountRecord
from sidecar.management.failures import ManagementError
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.policy.rules import Policy
from sidecar.workbench.loading import load


def add(commands: Commands) -> None:
    """Add the command."""
    verbs = add_verbs(commands, "account", "list and change accounts")
    about = (
        (_list, "list", "list the accounts that have a record"),
        (_show, "show", "show one account"),
        (_set, "set", "set plan, status or the account's own limits"),
        (_delete, "delete", "delete an account except its revocations; it stays disabled"),
    )
    for run, verb, text in about:
        parser = command(verbs, verb, run, text)
        parser.add_argument("--issuer", metavar="ID", help="required if several issuers are configured")
        if verb != "list":
            parser.add_argument("account", type=account_name, metavar="ACCOUNT")
        if verb == "set":
            parser.add_argument("--plan")
            parser.add_argument("--status", choices=("active", "disabled"))
            parser.add_argument("--create", action="store_true", help="create the record if the store has none")
            overrides.add(parser)


# --- reading -----------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config)
    issuer = issuer_id(arguments, settings)
    found = with_store(settings, lambda store: account_records.list_accounts(store, issuer))
    rows = [
        (each.account or f"({each.digest})", each.plan or "-", each.status, overrides.words(each.quotas) or "-")
        for each in found
    ]
    documents = [{**_document(each), "digest": each.digest} for each in found]
    emit(arguments, documents, table(("ACCOUNT", "PLAN", "STATUS", "QUOTAS"), rows))
    return 0


def _document(record: AccountRecord) -> dict[str, Any]:
    return {
        "issuer": record.issuer,
        "account": record.account,
        "plan": record.plan,
        "status": record.status.value,
        "quotas": dict(record.quotas),
    }


def _show(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config)
    target = target_of(arguments, settings)
    detail = with_store(settings, lambda store: account_records.show_account(store, target))
    shown = {
        **_document(detail.record),
        "issuer": target.issuer,
        "account": target.account,
        "balances": dict(detail.balances),
        "consents": detail.consents,
        "all_clients_revoked": detail.all_clients_revoked,
    }
    pools = (f"{pool}: {balance}" for pool, balance in shown["balances"].items())
    lines = [
        f"account   {target}",
        f"plan      {shown['plan'] or '- (the default plan of the policy)'}",
        f"status    {shown['status']}",
        f"quotas    {overrides.words(shown['quotas']) or 'as in the plan'}",
        f"balances  {', '.join(pools) or 'none'}",
        f"consents  {shown['consents']}{'; all clients are revoked' if shown['all_clients_revoked'] else ''}",
    ]
    emit(arguments, shown, lines)
    return 0


# --- changing ----------------------------------------------------------------------------------


def _set(arguments: argparse.Namespace) -> int:
    quotas: list[Override] = arguments.quota
    if arguments.plan is None and arguments.status is None and not quotas and not arguments.create:
        raise UsageError("nothing to set: --plan, --status, --quota or --create")
    settings = load_settings(arguments.config)
    target = target_of(arguments, settings)
    policy = load(arguments.config, serving=False).policy if quotas or arguments.plan is not None else None
    change = AccountChange(
        plan=arguments.plan,
        active=None if arguments.status is None else arguments.status == "active",
        limits=overrides.limits_of(quotas),
        drop=overrides.drops_of(quotas),
        create=arguments.create,
    )
    if policy is not None:
        _check(policy, change, quotas)
    created = with_store(settings, lambda store: _changed(store, target, change, policy))
    return _done(arguments, target, "created" if created else "changed")


def _check(policy: Policy, change: AccountChange, quotas: list[Override]) -> None:
    """Check the change before the store is asked."""
    try:
        account_records.check_plan(policy, change)
    except ManagementError as error:
        raise UsageError(str(error)) from error
    overrides.check(policy, quotas)


async def _changed(store: OperatorStore, target: Target, change: AccountChange, policy: Policy | None) -> bool:
    try:
        return await account_records.set_account(store, target, change, policy=policy, by=AUTHOR)
    except ManagementError as error:
        raise unless_unknown(error, ": create one with --create") from error


def _delete(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config)
    target = target_of(arguments, settings)
    with_store(settings, lambda store: account_records.delete_account(store, target, by=AUTHOR))
    text = "deleted; revocations are kept and the account stays disabled until `account set --create`"
    return _done(arguments, target, "deleted", text)


def _done(arguments: argparse.Namespace, target: Target, done: str, text: str | None = None) -> int:
    document = {"done": done, "issuer": target.issuer, "account": target.account}
    emit(arguments, document, [f"account {target}: {text or done}"])
    return 0
