"""`explain`: outcome of one call at each gate."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from sidecar.cli.common import (
    CommandError,
    Commands,
    UsageError,
    account_name,
    client_name,
    command,
    emit,
    issuer_id,
    words,
)
from sidecar.cli.explain_recorded import explain_recorded
from sidecar.cli.explain_store import look_at
from sidecar.config.settings.settings import Settings
from sidecar.errors import Refusal
from sidecar.identity.jwt.jwt_claims import is_jwt
from sidecar.model import Caller
from sidecar.policy.language.case_models import TestCallDocument
from sidecar.policy.language.tests_section import call_mistake
from sidecar.protocol.strict import strictjson
from sidecar.workbench.explainer import explain, explain_token, question, refused_token, with_token
from sidecar.workbench.explanation import Explanation
from sidecar.workbench.loading import Loaded, load
from sidecar.workbench.token_report import TokenReport, report

_NAMING = ("tool", "resource", "prompt", "method")
_DESCRIBED = ("scopes", "client", "account", "subject", "plan", "issuer")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "explain", run, "show the outcome of one call at each gate, or of each check of a token")
    parser.add_argument("--tool", help="the tool to call")
    parser.add_argument("--resource", metavar="URI", help="or: the resource to read, or that --method refers to")
    parser.add_argument("--prompt", help="or: the prompt to get, or that --method refers to")
    parser.add_argument("--method", help="or: another method")
    parser.add_argument(
        "--arguments", default="{}", metavar="JSON", help="arguments of the tool or prompt, a JSON object"
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="the access token, alone or with a call; - for standard input"
    )
    parser.add_argument("--scopes", nargs="+", metavar="SCOPE", help="or: the token's scopes")
    parser.add_argument("--client", type=client_name, help="the token's client id")
    parser.add_argument("--account", type=account_name, help="the token's account, as the store has it")
    parser.add_argument("--subject", type=account_name, help="the token's subject; default: the account")
    parser.add_argument("--plan", help="or: the plan of an assumed account; default: the policy's default_plan")
    parser.add_argument("--issuer", metavar="ID", help="default: the first configured issuer")
    parser.add_argument("--offline", action="store_true", help="assume an account without usage; do not ask the store")
    parser.add_argument("--request-id", metavar="ID", help="or: a past call, by its X-Request-Id; with --log")
    parser.add_argument("--log", type=Path, metavar="FILE", help="the sidecar's log; - for standard input")


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation; the exit status is 0 for a refused call or token too."""
    if arguments.request_id is not None or arguments.log is not None:
        return explain_recorded(arguments)
    has_token, has_call = (
        arguments.token_file is not None,
        any(getattr(arguments, name) is not None for name in _NAMING),
    )
    asked = _asked(arguments) if has_call or not has_token else None
    described = [word for word in _DESCRIBED if getattr(arguments, word) is not None]
    if arguments.token_file is not None and described:
        raise UsageError(f"--token-file describes the whole caller: use it without --{described[0]}")
    _check_account(arguments)
    loaded = load(arguments.config, serving=False)
    plans = loaded.policy.plans or {}
    if arguments.plan is not None and arguments.plan not in plans:
        raise UsageError(f"there is no plan {arguments.plan!r}: {', '.join(plans) or 'the policy has none'}")
    explanation: Explanation | TokenReport
    if asked is None or has_token:
        explanation = _with_token(arguments, loaded, asked)
    else:
        explanation = _without_token(arguments, loaded, asked)
    emit(arguments, explanation.document(), str(explanation).splitlines())
    return 0


def _check_account(arguments: argparse.Namespace) -> None:
    """Refuse words that leave open whether the account is assumed or the store's."""
    if arguments.account is None or arguments.offline:
        return
    if arguments.plan is not None:
        raise UsageError("the store has the plan of --account: leave out --plan, or assume one with --offline")
    if arguments.client is None:
        raise UsageError("the store has consents by client: add --client, or assume an account with --offline")


def _asked(arguments: argparse.Namespace) -> TestCallDocument:
    """Return the call of the command line, in the form of a policy test."""
    named = {name: getattr(arguments, name) for name in _NAMING}
    asked = TestCallDocument(**named, arguments=_arguments(arguments.arguments))
    mistake = call_mistake(asked)
    if mistake is not None:
        wrong, accepted = mistake
        raise UsageError(f"the call: {wrong}; accepted: {accepted}")
    return asked


def _with_token(
    arguments: argparse.Namespace, loaded: Loaded, asked: TestCallDocument | None
) -> Explanation | TokenReport:
    """Explain a token, and the call by it, if any."""
    now, policy, text = time.time(), loaded.policy, _token(arguments.token_file, loaded.settings)
    caller: Caller | Refusal
    try:
        caller = explain_token(loaded.settings, policy, text, now)
    except Refusal as refusal:
        caller = refusal
    token = report(loaded.settings, policy, text, now, caller if isinstance(caller, Refusal) else None)
    if asked is None:
        return token
    if isinstance(caller, Refusal):
        return with_token(refused_token(policy, asked, caller), token)
    return with_token(_explained(arguments, loaded, asked, caller, not arguments.offline), token)


def _without_token(arguments: argparse.Namespace, loaded: Loaded, asked: TestCallDocument) -> Explanation:
    caller = _described(arguments, loaded, int(time.time()))
    return _explained(arguments, loaded, asked, caller, arguments.account is not None and not arguments.offline)


def _explained(
    arguments: argparse.Namespace, loaded: Loaded, asked: TestCallDocument, caller: Caller, is_stored: bool
) -> Explanation:
    """Explain a call for the caller's account in the store, or for an assumed one."""
    policy, issuers = loaded.policy, loaded.settings.issuers
    application = question(policy, asked, caller) if is_stored else None
    look = None if application is None else look_at(loaded.settings, application)
    issuer = caller.issuer_id if len(issuers) > 1 else None
    now = round(time.time() * 1000)
    return explain(policy, asked, caller, arguments.plan, now, look=look, issuer_id=issuer)


def _described(arguments: argparse.Namespace, loaded: Loaded, now: int) -> Caller:
    issuers = loaded.settings.issuers
    chosen = issuers[0].id if arguments.issuer is None else issuer_id(arguments, loaded.settings)
    account = arguments.account or "anyone"
    return Caller(
        issuer_id=chosen,
        issuer=next(each.issuer for each in issuers if each.id == chosen),
        subject=arguments.subject or account,
        account=account,
        client_id=arguments.client or "anything",
        scopes=frozenset(words(arguments.scopes or ())),
        issued_at=now,
        expires_at=now + 3600,
    )


def _arguments(text: str) -> dict[str, Any]:
    try:
        value = strictjson.parse(text.encode()).plain
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UsageError("--arguments must be a JSON object")
    return value


def _token(path: Path, settings: Settings) -> str:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise CommandError(f"{path} cannot be read: {reason}") from None
    token = text.strip()
    if not is_jwt(token) and any(issuer.introspection is not None for issuer in settings.issuers):
        raise CommandError(
            f"{path} holds an opaque token, which this command does not introspect: "
            "describe its caller with --account, --client and --scopes"
        )
    return token
