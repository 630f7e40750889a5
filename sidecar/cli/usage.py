"""`usage`: used and remaining amounts of an account, its open holds, and its journal."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from sidecar.cli import journal, usage_accounts
from sidecar.cli.common import Commands, UsageError, account_name, amount, command, emit, shown
from sidecar.cli.store_access import target_of, with_store
from sidecar.config.files import load_settings
from sidecar.ledger.accounts import Hold
from sidecar.ledger.journal.entries import Entry
from sidecar.management.account_records import UNLIMITED, limits_by_field
from sidecar.management.journal_reading import last_entries
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.management.usage_reading import read_usage, usage_of
from sidecar.model import AmountKind
from sidecar.store.commands.changes import Inspection
from sidecar.workbench.loading import load


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "usage", run, "show windows, balances, open holds and journal of an account")
    parser.add_argument("account", type=account_name, metavar="ACCOUNT", nargs="?")
    parser.add_argument("--all-accounts", action="store_true", help="with --verify: every account of the store")
    parser.add_argument(
        "--issuer", metavar="ID", help="required if several issuers are configured, except with --all-accounts"
    )
    parser.add_argument(
        "--last",
        type=amount,
        default=journal.DEFAULT_COUNT,
        metavar="N",
        help=f"number of entries to show; default: {journal.DEFAULT_COUNT}",
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--follow", action="store_true", help="print the journal, and new entries as they arrive")
    either.add_argument("--verify", action="store_true", help="recompute balances and counters from the journal")


def run(arguments: argparse.Namespace) -> int:
    """Show one account, or its journal; or verify all of them."""
    if (arguments.account is None) is not arguments.all_accounts:
        raise UsageError("name one ACCOUNT, or --verify --all-accounts")
    if arguments.all_accounts:
        if not arguments.verify:
            raise UsageError("--all-accounts goes with --verify")
        return usage_accounts.print_verifications(arguments, load_settings(arguments.config))
    if arguments.follow or arguments.verify:
        settings = load_settings(arguments.config)  # no policy: an audit works while the policy files are invalid
        looking = journal.follow if arguments.follow else journal.print_verification
        return looking(arguments, settings, target_of(arguments, settings))
    loaded = load(arguments.config, serving=False)
    target = target_of(arguments, loaded.settings)
    seen, entries = with_store(loaded.settings, lambda store: _looked(store, target, arguments.last))
    document = {
        "issuer": target.issuer,
        "account": target.account,
        "known": seen.known,
        **usage_of(seen, loaded.policy),
        "overrides": limits_by_field(seen.state.overrides),
        "holds": [_hold(call_id, hold, seen.now) for call_id, hold in sorted(seen.state.holds.items())],
        "unreadable_holds": sorted(seen.state.unreadable),
        "entries": [journal.document(entry) for entry in entries],
    }
    emit(arguments, document, [*_lines(target, document), *(f"  entry    {journal.line(each)}" for each in entries)])
    return 0


async def _looked(store: OperatorStore, target: Target, count: int) -> tuple[Inspection, list[Entry]]:
    seen = await read_usage(store, target)
    return seen, await last_entries(store, target.keys, count)


# --- words -------------------------------------------------------------------------------------


def _hold(call_id: str, hold: Hold, now: int) -> dict[str, Any]:
    return {
        "call": call_id,
        "client_id": hold.client_id,
        "owner": hold.owner,
        "lease_seconds": max(0, -(-(hold.until - now) // 1000)),
        "on_unknown": hold.on_unknown.value,
        "deferred": hold.deferred is not None,
        "amounts": [
            {"kind": amount.kind.value, "name": amount.name, "reserved": amount.reserved} for amount in hold.amounts
        ],
    }


def _lines(target: Target, facts: dict[str, Any]) -> Iterator[str]:
    record = "" if facts["known"] else "; it has no record of its own"
    yield f"account {target}: plan {facts['plan'] or '-'}, {facts['status']}{record}"
    for quota, windows in facts["quotas"].items():
        for window, entry in windows.items():
            own = " (the account's own limit)" if f"{quota}.{window}" in facts["overrides"] else ""
            yield (
                f"  quota    {shown(quota)} per {window}: {entry['used']} of {entry['limit']} used{own}, "
                f"{entry['left']} left, resets in {span(entry['resets_in'])}"
            )
    for field, limit in facts["overrides"].items():
        if limit == UNLIMITED:
            quota, _, window = field.rpartition(".")
            yield f"  quota    {shown(quota)} per {window}: unlimited (the account's own limit)"
    for pool, entry in facts["credits"].items():
        yield f"  credits  {pool_line(pool, entry)}"
    for call in facts["unreadable_holds"]:
        yield f"  hold     {shown(call)} cannot be read: it keeps its amounts until it is repaired"
    if not facts["holds"] and not facts["unreadable_holds"]:
        yield "  holds    none"
    for hold in facts["holds"]:
        units = (f"{each['reserved']} {_unit(each)}" for each in hold["amounts"])
        yield (
            f"  hold     {shown(hold['call'])} of client {shown(hold['client_id'])}: {', '.join(units)}; "
            f"{hold['on_unknown']} in {span(hold['lease_seconds'])} unless its call ends earlier"
        )


def _unit(amount: dict[str, Any]) -> str:
    credit = amount["kind"] == AmountKind.CREDIT.value
    return f"{amount['name']} credits" if credit else str(amount["name"])


def pool_line(pool: str, facts: dict[str, Any]) -> str:
    """Format one pool of credits as text."""
    held = f", {facts['held']} of it held by calls in flight" if facts["held"] else ""
    line = f"{pool}: {facts['left']} left; balance {facts['balance']}{held}"
    included = facts.get("included")
    if included is None:
        return line
    return (
        f"{line}; included {included['used']} of {included['limit']} used per {included['window']}, "
        f"resets in {span(included['resets_in'])}"
    )


def span(seconds: int) -> str:
    """Format a duration in the largest unit that gives at least 2: `90s`, `119m`, `3d`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
