"""`account`: accounts in the store, with plan, status and their own limits."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from sidecar.cli import overrides
from sidecar.cli.common import CommandError, Commands, UsageError, account_name, command, emit, issuer_id, table
from sidecar.cli.common import verbs as add_verbs
from sidecar.cli.operator_store import Session, Target, with_store
from sidecar.cli.overrides import Override
from sidecar.config.files import load_settings
from sidecar.ledger.decoding import parse_overrides
from sidecar.policy.rules import Policy
from sidecar.store.commands import bindings, changes
from sidecar.store.commands.command import ChangeCode
from sidecar.store.commands.keys import EVERY_ACCOUNT_KEY, claim_of, keys_of, place_of
from sidecar.store.health.corruption import CorruptionError
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
    found = [each for each in with_store(settings, _records) if each["issuer"] in (issuer, None)]
    rows = [
        (
            each["account"] or f"({each['digest']})",
            each["plan"] or "-",
            each["status"],
            overrides.words(each["quotas"]) or "-",
        )
        for each in found
    ]
    emit(arguments, found, table(("ACCOUNT", "PLAN", "STATUS", "QUOTAS"), rows))
    return 0


async def _records(session: Session) -> list[dict[str, Any]]:
    found = []
    for key in await session.keys(EVERY_ACCOUNT_KEY):
        try:
            fields = await session.record(key)
        except CorruptionError:
            found.append({**_plain({}), "status": "damaged", "digest": keys_of(key).digest})
            continue
        if fields:
            found.append({**_plain(fields), "digest": keys_of(key).digest})
    return sorted(found, key=lambda each: (each["issuer"] or "", each["account"] or "", each["digest"]))


def _plain(fields: dict[str, str]) -> dict[str, Any]:
    status = "active" if fields.get("status", "active") == "active" else "disabled"
    return {
        "issuer": fields.get("issuer"),
        "account": fields.get("account"),
        "plan": fields.get("plan") or None,
        "status": "deleted" if "deleted" in fields else status,
        "quotas": overrides.by_field(parse_overrides(fields)),
    }


def _show(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config)
    target = Target.of(arguments, settings)
    shown = with_store(settings, lambda session: _shown(session, target))
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


async def _shown(session: Session, target: Target) -> dict[str, Any]:
    fields = await session.record(target.keys.account)
    if not fields:
        raise CommandError(f"the store has no record of account {target}")
    state = (await session.inspect(target)).state
    return {
        **_plain(fields),
        "issuer": target.issuer,
        "account": target.account,
        "balances": state.balances,
        "consents": len(await session.consents(target)),
        "all_clients_revoked": await session.revocation(target) is not None,
    }


# --- changing ----------------------------------------------------------------------------------


def _set(arguments: argparse.Namespace) -> int:
    quotas: list[Override] = arguments.quota
    if arguments.plan is None and arguments.status is None and not quotas and not arguments.create:
        raise UsageError("nothing to set: --plan, --status, --quota or --create")
    settings = load_settings(arguments.config)
    target = Target.of(arguments, settings)
    policy = load(arguments.config, serving=False).policy if quotas or arguments.plan is not None else None
    if policy is not None:
        _check(policy, arguments.plan, quotas)
    code = with_store(settings, lambda session: _changed(session, target, policy, arguments))
    if code is ChangeCode.UNKNOWN:
        raise CommandError(f"the store has no record of account {target}: create one with --create")
    return _done(arguments, target, "created" if code is ChangeCode.CREATED else "changed")


def _check(policy: Policy, plan: str | None, quotas: Sequence[Override]) -> None:
    plans = policy.plans or {}
    if plan is not None and plan not in plans:
        raise UsageError(f"there is no plan {plan!r}: {', '.join(plans) or 'the policy has none'}")
    overrides.check(policy, quotas)


async def _changed(
    session: Session, target: Target, policy: Policy | None, arguments: argparse.Namespace
) -> ChangeCode:
    drop = overrides.drops_of(arguments.quota)
    if policy is not None and drop:
        own = parse_overrides(await session.record(target.keys.account))
        overrides.check_drops(policy, arguments.quota, own)
    change = changes.set_account(
        target.issuer,
        target.account,
        plan=arguments.plan,
        active=None if arguments.status is None else arguments.status == "active",
        quotas=overrides.limits_of(arguments.quota),
        drop=drop,
        create=arguments.create,
    )
    return ChangeCode(await session.run(change))


def _delete(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config)
    target = Target.of(arguments, settings)
    code = with_store(settings, lambda session: _deleted(session, target))
    if code is ChangeCode.UNKNOWN:
        raise CommandError(f"the store has no data of account {target}")
    text = "deleted; revocations are kept and the account stays disabled until `account set --create`"
    return _done(arguments, target, "deleted", text)


async def _deleted(session: Session, target: Target) -> ChangeCode:
    keys = target.keys
    bound = [key for pattern in (keys.every_session, keys.every_task) for key in await session.keys(pattern)]
    others = [key for pattern in (*keys.every_record, *keys.every_list) for key in await session.keys(pattern)]
    others.append(keys.revocation)
    code = await session.run(changes.delete_account(target.issuer, target.account, others=[*others, *bound]))
    for key in bound:
        kind, _, name = place_of(key).partition(":")
        await session.run(bindings.drop_claim(claim_of(kind, name), keys.digest))
    return ChangeCode(code)


def _done(arguments: argparse.Namespace, target: Target, done: str, text: str | None = None) -> int:
    document = {"done": done, "issuer": target.issuer, "account": target.account}
    emit(arguments, document, [f"account {target}: {text or done}"])
    return 0
