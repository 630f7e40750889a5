"""`consent revoke ACCOUNT --all` and `consent grant ACCOUNT --all`: the revocation of all clients of one account."""

from __future__ import annotations

import argparse
from typing import Any

from sidecar.cli.common import emit, plural
from sidecar.cli.store_access import AUTHOR, target_of, with_store
from sidecar.config.files import load_settings
from sidecar.management.consent_records import lift_revocation, revoke_all_clients
from sidecar.management.targets import Target


def revoke(arguments: argparse.Namespace) -> int:
    """Revoke every client of an account, also those that register later."""
    # A revocation reads no policy: it must work while the policy files are invalid.
    settings = load_settings(arguments.config)
    target = target_of(arguments, settings)
    done = with_store(settings, lambda store: revoke_all_clients(store, target, by=AUTHOR))
    record = "a record was created" if done.changed else "the record was changed"
    document = {**_document("revoked", target), "created": done.changed, "revoked": done.revoked}
    emit(
        arguments,
        document,
        [
            f"revoked: every client of account {target}, also clients without a record: {record}; "
            f"{plural(done.revoked, 'consent')} revoked",
            "`consent grant ACCOUNT CLIENT` lets one client in again, `consent grant ACCOUNT --all` new clients",
        ],
    )
    return 0


def lift(arguments: argparse.Namespace) -> int:
    """Lift the revocation of all clients; clients that were revoked stay revoked."""
    settings = load_settings(arguments.config)
    target = target_of(arguments, settings)
    done = with_store(settings, lambda store: lift_revocation(store, target, by=AUTHOR))
    document = {**_document("lifted", target), "lifted": done.changed, "revoked": done.revoked}
    text = f"lifted: new clients of account {target} are let in as the policy says; revoked clients stay revoked"
    if done.revoked:
        text += f"; {plural(done.revoked, 'consent')} covered by the revocation marked so"
    if not done.changed:
        text = f"nothing to lift: not all clients of account {target} are revoked"
    emit(arguments, document, [text])
    return 0


def _document(done: str, target: Target) -> dict[str, Any]:
    return {"done": done, "issuer": target.issuer, "account": target.account}
