"""`consent revoke ACCOUNT --all` and `consent grant ACCOUNT --all`: the revocation of all clients of one account."""

from __future__ import annotations

import argparse
from typing import Any, Final

from sidecar.cli.common import emit, plural
from sidecar.cli.operator_store import Session, Target, with_store
from sidecar.config.files import load_settings
from sidecar.store.commands import changes
from sidecar.store.commands.changes import Revoke
from sidecar.store.commands.command import ChangeCode

_BATCH: Final = 1000  # records of one script: other commands wait for it


def revoke(arguments: argparse.Namespace) -> int:
    """Revoke every client of an account, also those that register later."""
    # A revocation reads no policy: it must work while the policy files are invalid.
    settings = load_settings(arguments.config)
    target = Target.of(arguments, settings)
    created, revoked = with_store(settings, lambda session: _revoked(session, target))
    record = "a record was created" if created else "the record was changed"
    document = {**_document("revoked", target), "created": created, "revoked": revoked}
    emit(
        arguments,
        document,
        [
            f"revoked: every client of account {target}, also clients without a record: {record}; "
            f"{plural(revoked, 'consent')} revoked",
            "`consent grant ACCOUNT CLIENT` lets one client in again, `consent grant ACCOUNT --all` new clients",
        ],
    )
    return 0


async def _revoked(session: Session, target: Target) -> tuple[bool, int]:
    """Write the revocation, which ends all access at once; then revoke the records, so that lists show it."""
    names = (target.issuer, target.account)
    code, _ = changes.revoked_all(await session.run(changes.revoke_all(*names)))
    return code is ChangeCode.CREATED, await _revoke_records(session, target, Revoke.RECORDS)


def lift(arguments: argparse.Namespace) -> int:
    """Lift the revocation of all clients; clients that were revoked stay revoked."""
    settings = load_settings(arguments.config)
    target = Target.of(arguments, settings)
    lifted, revoked = with_store(settings, lambda session: _lifted(session, target))
    document = {**_document("lifted", target), "lifted": lifted, "revoked": revoked}
    text = f"lifted: new clients of account {target} are let in as the policy says; revoked clients stay revoked"
    if revoked:
        text += f"; {plural(revoked, 'consent')} covered by the revocation marked so"
    if not lifted:
        text = f"nothing to lift: not all clients of account {target} are revoked"
    emit(arguments, document, [text])
    return 0


async def _lifted(session: Session, target: Target) -> tuple[bool, int]:
    revoked = await _revoke_records(session, target, Revoke.COVERED)
    code = ChangeCode(await session.run(changes.lift(target.issuer, target.account)))
    return code is ChangeCode.DONE, revoked


async def _revoke_records(session: Session, target: Target, part: Revoke) -> int:
    records = [key for pattern in target.keys.every_record for key in await session.keys(pattern)]
    revoked = 0
    for first in range(0, len(records), _BATCH):
        batch = records[first : first + _BATCH]
        command = changes.revoke_all(target.issuer, target.account, batch, part)
        revoked += changes.revoked_all(await session.run(command))[1]
    return revoked


def _document(done: str, target: Target) -> dict[str, Any]:
    return {"done": done, "issuer": target.issuer, "account": target.account}
