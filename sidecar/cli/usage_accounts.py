"""`usage --verify --all-accounts`: recompute every account of the store from its journal, as after a restore."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from sidecar.cli import journal
from sidecar.cli.common import emit, issuer_id, plural, shown
from sidecar.cli.store_access import with_store
from sidecar.config.settings.settings import Settings
from sidecar.management.journal_audit import verify_all

_PROGRESS_EVERY: Final = 10_000  # accounts


def print_verifications(arguments: argparse.Namespace, settings: Settings) -> int:
    """Verify every account and print those with differences; return 1 if there are any."""
    issuer = None if arguments.issuer is None else issuer_id(arguments, settings)
    audit = with_store(settings, lambda store: verify_all(store, issuer, _report), read_only=True)
    document = {
        "ok": not audit.wrong and not audit.failed,
        "accounts": audit.verified,
        "wrong": [journal.verified_document(found, verified) for found, verified in audit.wrong],
        "failed": [
            {"issuer": found.issuer, "account": found.account, "digest": found.keys.digest, "reason": shown(reason)}
            for found, reason in audit.failed
        ],
    }
    lines = [line for found, verified in audit.wrong for line in journal.verdict(found, verified)]
    lines += [f"account {found}: {shown(reason)}" for found, reason in audit.failed]
    lines.append(
        f"{plural(audit.verified, 'account')} verified: {len(audit.wrong)} with differences, "
        f"{len(audit.failed)} not readable"
    )
    emit(arguments, document, lines)
    return 0 if document["ok"] else 1


def _report(read: int, of: int) -> None:
    if read and read % _PROGRESS_EVERY == 0:
        print(f"{read} of {plural(of, 'account')} read", file=sys.stderr)
