"""`consent`: consents of an account to clients."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from sidecar.cli import consent_accounts, consent_all, consent_lists
from sidecar.cli.common import (
    Commands,
    UsageError,
    account_name,
    client_name,
    command,
    emit,
    plural,
    shown,
    words,
)
from sidecar.cli.common import verbs as add_verbs
from sidecar.cli.store_access import AUTHOR, target_of, with_store
from sidecar.config.files import load_settings
from sidecar.management.consent_records import ConsentChange, grant_consent, revoke_consent
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.workbench.loading import load


def add(commands: Commands) -> None:
    """Add the command."""
    verbs = add_verbs(commands, "consent", "list, grant and revoke consents")
    about = (
        (_list, "list", "list the consents of an account, or of a client over all accounts"),
        (_grant, "grant", "grant a consent, or lift the revocation of all clients"),
        (_revoke, "revoke", "revoke one or all clients, from the next call on every sidecar"),
    )
    for run, verb, text in about:
        parser = command(verbs, verb, run, text)
        parser.set_defaults(verb=verb, wrong=parser.error, all=False, all_accounts=False, id=None)
        optional = None if verb == "grant" else "?"
        parser.add_argument("account", type=account_name, metavar="ACCOUNT", nargs=optional)
        parser.add_argument("client", type=client_name, metavar="CLIENT", nargs="?")
        parser.add_argument("--issuer", metavar="ID", help="required if several issuers are configured")
        every = f"default: {consent_lists.EVERY_SUBJECT} of that account and client"
        parser.add_argument("--subject", type=account_name, help=every)
        if verb != "grant":
            parser.add_argument("--client", dest="id", type=client_name, metavar="CLIENT", help="without ACCOUNT")
            parser.add_argument("--all-accounts", action="store_true", help="with --client; accounts with a record")
        if verb == "grant":
            parser.add_argument("--scopes", nargs="+", metavar="SCOPE", help="grant only these scopes; default: all")
            parser.add_argument("--all", action="store_true", help="lift the revocation of all clients; grant none")
        if verb == "revoke":
            parser.add_argument("--all", action="store_true", help="revoke all clients, also those not known yet")


def _require(arguments: argparse.Namespace, *forms: tuple[str, ...]) -> None:
    """Exit with the usage of the command, unless its line names exactly the arguments of one form."""
    names = ("account", "client", "id", "all", "all_accounts")
    named = tuple(name for name in names if getattr(arguments, name) not in (None, False))
    if named not in forms:
        signs = {"account": "ACCOUNT", "client": "CLIENT", "id": "--client CLIENT"}
        shapes = (" ".join(signs.get(name, f"--{name.replace('_', '-')}") for name in form) for form in forms)
        arguments.wrong(f"give {', or '.join(shapes)}")
    unused = [option for option in ("subject", "scopes") if getattr(arguments, option, None) is not None]
    if unused and arguments.verb != "list" and named != ("account", "client"):
        arguments.wrong(f"--{unused[0]} is for one client of one account")


def _list(arguments: argparse.Namespace) -> int:
    _require(arguments, ("account",), ("account", "client"), ("id",), ("id", "all_accounts"))
    return consent_lists.of_account(arguments) if arguments.id is None else consent_accounts.show(arguments)


def _grant(arguments: argparse.Namespace) -> int:
    _require(arguments, ("account", "client"), ("account", "all"))
    return consent_all.lift(arguments) if arguments.all else _change(arguments)


def _revoke(arguments: argparse.Namespace) -> int:
    _require(arguments, ("account", "client"), ("account", "all"), ("id", "all_accounts"))
    if arguments.all_accounts:
        return consent_accounts.revoke(arguments)
    return consent_all.revoke(arguments) if arguments.all else _change(arguments)


# --- one client of one account -----------------------------------------------------------------


def _change(arguments: argparse.Namespace) -> int:
    # A revocation reads no policy: it must work while the policy files are invalid.
    settings = load_settings(arguments.config)
    target = target_of(arguments, settings)
    grants = arguments.verb == "grant"
    scopes = _scopes(arguments) if grants and arguments.scopes is not None else None
    changed = with_store(settings, lambda store: _changed(store, target, arguments, scopes))
    done = "granted" if grants else "revoked"
    subject = consent_lists.EVERY_SUBJECT if arguments.subject is None else f"subject {shown(arguments.subject)}"
    document: dict[str, Any] = {
        "done": done,
        "issuer": target.issuer,
        "account": target.account,
        "client_id": arguments.client,
        "subject": arguments.subject,
        "scopes": None if scopes is None else sorted(scopes),
        "created": changed.created,
        "others": changed.others,
    }
    record = "a record was created" if changed.created else "the record was changed"
    also = f"; {plural(changed.others, 'consent')} of single subjects changed as well" if changed.others else ""
    lines = [f"{done}: client {arguments.client} of account {target}, {subject}: {record}{also}"]
    if grants and changed.blocked:
        lines.append("all other clients of the account stay revoked: see `consent grant ACCOUNT --all`")
    if not grants:
        document |= {"known": changed.known, "known_clients": consent_lists.by_host(changed.clients)}
        lines += [] if changed.known else _unknown(arguments.client, changed.clients)
    emit(arguments, document, lines)
    return 0


def _unknown(client: str, clients: Sequence[str]) -> list[str]:
    if not clients:
        return [f"the account had no record of client {shown(client)}, nor of any other client"]
    heading = f"the account had no record of client {shown(client)}: check the name; it has records of"
    return [heading, *(f"  {line}" for line in consent_lists.host_lines(clients))]


def _scopes(arguments: argparse.Namespace) -> tuple[str, ...]:
    listed = words(arguments.scopes)
    declared = load(arguments.config, serving=False).policy.scope_names
    unknown = [scope for scope in listed if scope not in declared]
    if unknown:
        raise UsageError(f"there is no scope {unknown[0]!r}: {', '.join(declared) or 'the policy has none'}")
    return listed


async def _changed(
    store: OperatorStore, target: Target, arguments: argparse.Namespace, scopes: Sequence[str] | None
) -> ConsentChange:
    client, subject = arguments.client, arguments.subject
    if arguments.verb == "revoke":
        return await revoke_consent(store, target, client, subject=subject, by=AUTHOR)
    return await grant_consent(store, target, client, subject=subject, scopes=scopes, by=AUTHOR)
