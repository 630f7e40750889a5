"""`consent`: which clients an account has approved, and ending that."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sidecar.cli.common import (
    Commands,
    UsageError,
    account_name,
    client_name,
    command,
    emit,
    plural,
    shown,
    table,
    words,
)
from sidecar.cli.common import verbs as add_verbs
from sidecar.cli.store import Session, Target, with_store
from sidecar.config.load import load_settings
from sidecar.ledger import changes
from sidecar.ledger.changes import ChangeCode
from sidecar.workbench.load import load

_EVERY = "every subject"


def add(commands: Commands) -> None:
    """Add the command."""
    verbs = add_verbs(commands, "consent", "list, grant and revoke consents")
    about = (
        (_list, "list", "list the consents of an account"),
        (_change, "grant", "grant a consent"),
        (_change, "revoke", "revoke a consent; it stops the next call on every sidecar"),
    )
    for run, verb, text in about:
        parser = command(verbs, verb, run, text)
        parser.set_defaults(verb=verb)
        parser.add_argument("account", type=account_name, metavar="ACCOUNT")
        parser.add_argument("client", type=client_name, metavar="CLIENT", nargs="?" if verb == "list" else None)
        parser.add_argument("--issuer", metavar="ID", help="required where several are configured")
        parser.add_argument("--subject", type=account_name, help=f"default: {_EVERY} of that account and client")
        if verb == "grant":
            parser.add_argument("--scopes", nargs="+", metavar="SCOPE", help="the only ones granted; default: all")


# --- reading -----------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config)
    target = Target.of(arguments, settings)
    found = with_store(settings, lambda session: _consents(session, target, arguments.client, arguments.subject))
    rows = [
        (
            each["client_id"] or "-",
            each["subject"] or f"({_EVERY})",
            each["status"],
            each["at"] or "-",
            "-" if each["scopes"] is None else " ".join(each["scopes"]),
        )
        for each in found
    ]
    emit(arguments, found, table(("CLIENT", "SUBJECT", "STATUS", "SINCE", "SCOPES"), rows))
    return 0


async def _consents(session: Session, target: Target, client: str | None, subject: str | None) -> list[dict[str, Any]]:
    found = []
    for fields, consent in (await session.consents(target)).values():
        if client not in (None, fields.get("client_id")) or subject not in (None, fields.get("subject")):
            continue
        found.append(
            {
                "client_id": fields.get("client_id"),
                "subject": fields.get("subject"),
                "status": "granted" if consent.granted else "revoked",
                "at": None if consent.at is None else _time(consent.at),
                "scopes": None if consent.scopes is None else sorted(consent.scopes),
            }
        )
    return sorted(found, key=lambda each: (each["client_id"] or "", each["subject"] or ""))


def _time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)


# --- changing ----------------------------------------------------------------------------------


def _change(arguments: argparse.Namespace) -> int:
    # A revocation reads no policy: it must work while somebody has broken one.
    settings = load_settings(arguments.config)
    target = Target.of(arguments, settings)
    grants = arguments.verb == "grant"
    scopes = _scopes(arguments) if grants and arguments.scopes is not None else None
    created, others = with_store(settings, lambda session: _changed(session, target, arguments, scopes))
    done = "granted" if grants else "revoked"
    whose = _EVERY if arguments.subject is None else f"subject {shown(arguments.subject)}"
    document = {
        "done": done,
        "issuer": target.issuer,
        "account": target.account,
        "client_id": arguments.client,
        "subject": arguments.subject,
        "scopes": None if scopes is None else sorted(scopes),
        "created": created,
        "others": others,
    }
    record = "a record was created" if created else "the record was changed"
    also = f"; with it {plural(others, 'consent')} of single subjects" if others else ""
    emit(arguments, document, [f"{done}: client {arguments.client} of account {target}, {whose}: {record}{also}"])
    return 0


def _scopes(arguments: argparse.Namespace) -> tuple[str, ...]:
    listed = words(arguments.scopes)
    declared = load(arguments.config, serving=False).policy.scope_names
    unknown = [scope for scope in listed if scope not in declared]
    if unknown:
        raise UsageError(f"there is no scope {unknown[0]!r}: {', '.join(declared) or 'the policy has none'}")
    return listed


async def _changed(
    session: Session, target: Target, arguments: argparse.Namespace, scopes: Sequence[str] | None
) -> tuple[bool, int]:
    """Whether the record is new, and how many records of single subjects were changed with it."""
    client, subject = arguments.client, arguments.subject
    others: list[str] = []
    if subject is None:
        consents = await session.consents(target)
        others = [
            key
            for key, (fields, _) in consents.items()
            if key == target.keys.consent(fields.get("subject", ""), client)
        ]
    whose = (target.issuer, target.account, subject, client)
    if arguments.verb == "grant":
        command_ = changes.grant(*whose, scopes, others=others)
    else:
        command_ = changes.revoke(*whose, others=others)
    return ChangeCode(await session.run(command_)) is ChangeCode.CREATED, len(others)
