"""`trial-issuer`: tokens for trials, on loopback only."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from typing import Final
from urllib.parse import urlsplit

from sidecar.cli.common import CommandError, Commands, UsageError, account_name, command, words
from sidecar.config.settings.addresses import http_url, is_loopback
from sidecar.trial.issuer import TrialIssuer
from sidecar.trial.issuer_server import PATH, TOKEN, serving
from sidecar.trial.local_requests import NOTICE

PORT: Final = 9000


def add(commands: Commands) -> None:
    """Add the command."""
    about = "issue tokens for trials, on this machine only"
    parser = command(commands, "trial-issuer", run, about, config=False, output=False)
    parser.add_argument("--resource", required=True, metavar="URL", help="audience of the tokens, on loopback")
    parser.add_argument("--port", type=port, default=PORT, metavar="N", help=f"default: {PORT}; 0 for any free one")
    parser.add_argument(
        "--account", type=account_name, default="ada", metavar="ACCOUNT", help="signed in without a login; default: ada"
    )
    parser.add_argument("--scopes", nargs="+", default=[], metavar="SCOPE", help="of tokens requested without scopes")


def port(text: str) -> int:
    """Parse a port of the command line."""
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65_535:
        raise argparse.ArgumentTypeError("a port must be an integer from 0 to 65535")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    resource = arguments.resource
    try:
        host = urlsplit(http_url(resource)).hostname or ""
    except ValueError:
        raise UsageError("--resource takes an http:// or https:// URL") from None
    if not is_loopback(host):
        raise UsageError(f"--resource {resource} is not on loopback: a sidecar accepts trial tokens only there")
    issuer = TrialIssuer((resource,), arguments.account, scopes=words(arguments.scopes), any_scope=True)
    try:
        asyncio.run(_serve(issuer, arguments))
    except OSError as error:
        raise CommandError(f"port {arguments.port}: {os.strerror(error.errno or 0)}; use another --port") from None
    return 0


async def _serve(issuer: TrialIssuer, arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(issuer, port=arguments.port, log=_log) as url:
        token = f"{url.removesuffix(PATH)}{TOKEN}"
        _log(f"{NOTICE}: issuer {url}, for {arguments.resource} only")
        _log(f"{NOTICE}: a token: curl -sX POST '{token}?account=ada&client=curl&scope=SCOPE+SCOPE'")
        await stop.wait()
    _log(f"{NOTICE}: stopped")


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
