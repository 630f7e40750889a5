"""`explain`: what one call would meet, gate by gate."""

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
    not_enforced,
    words,
)
from sidecar.config.settings import Settings
from sidecar.errors import Refusal
from sidecar.identity.claims_jwt import is_jwt
from sidecar.model import Caller
from sidecar.policy.models import TestCallDocument
from sidecar.policy.tests_section import call_mistake
from sidecar.protocol import strictjson
from sidecar.workbench.explain import explain, explain_token, refused_token
from sidecar.workbench.explanation import Explanation
from sidecar.workbench.load import Loaded, load

_DESCRIBED = ("scopes", "client", "account", "plan", "issuer")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "explain", run, "say what one call would meet at each gate, and by which line")
    parser.add_argument("--tool", help="the tool that is called")
    parser.add_argument("--resource", metavar="URI", help="or: the resource that is read, or that --method is about")
    parser.add_argument("--prompt", help="or: the prompt that is got, or that --method is about")
    parser.add_argument("--method", help="or: another method")
    parser.add_argument("--arguments", default="{}", metavar="JSON", help="arguments of the tool or prompt, an object")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="the access token that is sent; - for standard input"
    )
    parser.add_argument("--scopes", nargs="+", metavar="SCOPE", help="or: the token's scopes")
    parser.add_argument("--client", type=client_name, help="its client id")
    parser.add_argument("--account", type=account_name, help="its account")
    parser.add_argument("--plan", help="the account's plan; default: the policy's default_plan")
    parser.add_argument("--issuer", metavar="ID", help="where several are configured")
    not_enforced(parser, "--request-id", "--log")


def run(arguments: argparse.Namespace) -> int:
    """Explain; whatever would become of the call, it was explained."""
    asked = _asked(arguments)
    described = [word for word in _DESCRIBED if getattr(arguments, word) is not None]
    if arguments.token_file is not None and described:
        raise UsageError(f"--token-file says all of the caller: not beside --{described[0]}")
    loaded = load(arguments.config, serving=False)
    plans = loaded.policy.plans or {}
    if arguments.plan is not None and arguments.plan not in plans:
        raise UsageError(f"there is no plan {arguments.plan!r}: {', '.join(plans) or 'the policy has none'}")
    told = _explained(arguments, loaded, asked)
    emit(arguments, told.document(), str(told).splitlines())
    return 0


def _asked(arguments: argparse.Namespace) -> TestCallDocument:
    """What is called; the same as a policy test may call."""
    named = {name: getattr(arguments, name) for name in ("tool", "resource", "prompt", "method")}
    asked = TestCallDocument(**named, arguments=_arguments(arguments.arguments))
    mistake = call_mistake(asked)
    if mistake is not None:
        wrong, accepted = mistake
        raise UsageError(f"the call: {wrong}; accepted: {accepted}")
    return asked


def _explained(arguments: argparse.Namespace, loaded: Loaded, asked: TestCallDocument) -> Explanation:
    now = time.time()
    if arguments.token_file is None:
        caller = _described(arguments, loaded, int(now))
    else:
        try:
            caller = explain_token(loaded.settings, _token(arguments.token_file, loaded.settings), now)
        except Refusal as refusal:
            return refused_token(loaded.policy, asked, refusal)
    return explain(loaded.policy, asked, caller, arguments.plan, round(now * 1000))


def _described(arguments: argparse.Namespace, loaded: Loaded, now: int) -> Caller:
    issuers = loaded.settings.issuers
    chosen = issuers[0].id if arguments.issuer is None else issuer_id(arguments, loaded.settings)
    account = arguments.account or "anyone"
    return Caller(
        issuer_id=chosen,
        issuer=next(each.issuer for each in issuers if each.id == chosen),
        subject=account,
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
            f"{path} holds an opaque token, and no issuer is asked about it here: "
            "say whom it speaks for with --account, --client and --scopes"
        )
    return token
