"""Issuer of the demo as a process: approvals become consents in the sidecar's store, as with an operator's hook."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from demo.files import PAGE_CLIENT, SCOPES
from sidecar.cli import main as mcp_sidecar
from sidecar.trial.issuer import TrialIssuer
from sidecar.trial.issuer_server import serving
from sidecar.trial.oauth import ApprovedClient, OAuthError, Signer

BACKSTAGE: Final = "/demo"
"""Path that makes invalid tokens, too, and takes the key set down."""


async def _serve_forever(issuer: TrialIssuer, config: Path | None) -> None:
    if config is not None:
        issuer.on_approval = _mirror(config)
    async with serving(issuer, extra=_backstage(issuer)) as url:
        print(f"demo issuer: {url}", flush=True)
        await asyncio.Event().wait()


def _backstage(issuer: TrialIssuer) -> list[web.RouteDef]:
    async def change(request: web.Request) -> web.Response:
        issuer.keys_down = bool((await request.json())["keys_down"])
        return web.Response(status=204)

    async def token(request: web.Request) -> web.Response:
        """Issue a token: the body has arguments of `mint`."""
        changes: dict[str, Any] = await request.json()
        if changes.pop("unpublished", False):
            changes["signer"] = Signer("ES256")
        return web.Response(text=issuer.mint(**changes))

    return [web.post(BACKSTAGE, change), web.post(f"{BACKSTAGE}/token", token)]


def _mirror(config: Path) -> Callable[[ApprovedClient], Awaitable[None]]:
    """Return the hook that grants each approval with the operator's command."""

    async def mirror(approval: ApprovedClient) -> None:
        words = ["consent", "grant", approval.subject, approval.client_id]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = await asyncio.to_thread(mcp_sidecar, [*words, "--config", str(config)])
        print(f"$ mcp-sidecar {' '.join(words)}\n{said.getvalue().rstrip()}", flush=True)
        if status != 0:
            raise OAuthError("temporarily_unavailable", "The approval could not be recorded.", 503)

    return mirror


def main(argv: list[str] | None = None) -> None:
    """Serve the issuer on a free port, which is printed, until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m demo.issuer_process", description=main.__doc__)
    parser.add_argument("--resource", required=True, help="audience of the tokens")
    parser.add_argument("--config", type=Path, help="config of the sidecar; its store receives the approvals")
    options = parser.parse_args(argv)
    with contextlib.suppress(KeyboardInterrupt):
        issuer = TrialIssuer(resources=(options.resource,), scopes=SCOPES)
        issuer.add_client(PAGE_CLIENT, f"{options.resource.removesuffix('/mcp')}/account/callback")
        asyncio.run(_serve_forever(issuer, options.config))


if __name__ == "__main__":
    main()
