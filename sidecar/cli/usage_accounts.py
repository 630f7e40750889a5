"""`usage --verify --all-accounts`: recompute every account of the store from its journal, as after a restore."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.cli import journal
from sidecar.cli.common import CommandError, emit, issuer_id, plural, shown
from sidecar.cli.operator_store import Session, with_store
from sidecar.config.settings.settings import Settings
from sidecar.store.commands.keys import EVERY_ACCOUNTS_KEY, AccountKeys, keys_of
from sidecar.store.connection.store_connection import RejectedError
from sidecar.store.health.corruption import CorruptionError

_AT_ONCE: Final = 16  # accounts read at one time, so that calls do not wait behind all of them
_PROGRESS_EVERY: Final = 10_000  # accounts
_VERIFIED: Final = re.compile(r"mcp:\{[0-9a-f]{32}\}:(?:ledger|holds|leases|paid|usage)")
_NAMING: Final = re.compile(r"mcp:\{[0-9a-f]{32}\}:(?:account|revocation|consent:.+|client:.+)")


@dataclass(frozen=True, slots=True)
class _Found:
    """Account that the store has amounts of."""

    keys: AccountKeys
    issuer: str | None
    account: str | None

    def __str__(self) -> str:
        return f"({self.keys.digest})" if self.account is None else f"{self.account} ({self.issuer})"


@dataclass(slots=True)
class _Outcome:
    """Verified accounts.

    Attributes:
        verified: number of them.
        wrong: those with differences.
        failed: those that cannot be read, with the reason.
    """

    verified: int = 0
    wrong: list[tuple[_Found, journal.Verified]] = field(default_factory=list)
    failed: list[tuple[_Found, str]] = field(default_factory=list)


def print_verifications(arguments: argparse.Namespace, settings: Settings) -> int:
    """Verify every account and print those with differences; return 1 if there are any."""
    issuer = None if arguments.issuer is None else issuer_id(arguments, settings)
    outcome = with_store(settings, lambda session: _verify_all(session, issuer), read_only=True)
    document = {
        "ok": not outcome.wrong and not outcome.failed,
        "accounts": outcome.verified,
        "wrong": [journal.verified_document(found, verified) for found, verified in outcome.wrong],
        "failed": [
            {"issuer": found.issuer, "account": found.account, "digest": found.keys.digest, "reason": reason}
            for found, reason in outcome.failed
        ],
    }
    lines = [line for found, verified in outcome.wrong for line in journal.verdict(found, verified)]
    lines += [f"account {found}: {reason}" for found, reason in outcome.failed]
    lines.append(
        f"{plural(outcome.verified, 'account')} verified: {len(outcome.wrong)} with differences, "
        f"{len(outcome.failed)} not readable"
    )
    emit(arguments, document, lines)
    return 0 if document["ok"] else 1


async def _verify_all(session: Session, issuer: str | None) -> _Outcome:
    outcome = _Outcome()
    accounts = sorted((await _accounts(session)).items())
    for first in range(0, len(accounts), _AT_ONCE):
        several = accounts[first : first + _AT_ONCE]
        await asyncio.gather(*(_verify(session, keys_of(key), names, issuer, outcome) for key, names in several))
        if first and first % _PROGRESS_EVERY == 0:
            print(f"{first} of {plural(len(accounts), 'account')} read", file=sys.stderr)
    return outcome


async def _accounts(session: Session) -> dict[str, list[str]]:
    """Return the prefix of every account with amounts, with keys of records that may name it."""
    amounts, naming = set[str](), dict[str, list[str]]()
    async for batch in session.scan(EVERY_ACCOUNTS_KEY):
        for key in batch:
            prefix = key[: key.find("}") + 2]
            if _VERIFIED.fullmatch(key):
                amounts.add(prefix)
            elif _NAMING.fullmatch(key):
                _keep(naming.setdefault(prefix, []), key)
    return {prefix: naming.get(prefix, []) for prefix in amounts}


def _keep(keys: list[str], key: str) -> None:
    """Keep the account's own record first, and one other."""
    if key.endswith(":account"):
        keys.insert(0, key)
    elif all(each.endswith(":account") for each in keys):
        keys.append(key)


async def _verify(
    session: Session, keys: AccountKeys, naming: Iterable[str], issuer: str | None, outcome: _Outcome
) -> None:
    found = await _named(session, keys, naming)
    if issuer is not None and found.issuer not in (issuer, None):
        return
    try:
        verified = await journal.verification(session, found)
    except (CommandError, RejectedError, CorruptionError) as error:  # of this account only
        outcome.failed.append((found, shown(str(error))))
        return
    outcome.verified += 1
    if verified.found:
        outcome.wrong.append((found, verified))


async def _named(session: Session, keys: AccountKeys, naming: Iterable[str]) -> _Found:
    for key in naming:
        try:
            fields: dict[str, Any] = await session.record(key)
        except CorruptionError:
            continue
        if {"issuer", "account"} <= fields.keys():
            return _Found(keys, fields["issuer"], fields["account"])
    return _Found(keys, None, None)
