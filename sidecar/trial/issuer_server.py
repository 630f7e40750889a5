"""The demo's issuer over HTTP, in this process or in one of its own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from sidecar.demo.issuer import Issuer, Params
from sidecar.demo.oauth import Approval, OAuthError, Signer

PATH: Final = "/api/auth"
BACKSTAGE: Final = "/demo"
"""Where a story has tokens made and the key set taken down; whoever reaches it can be anybody."""
_NO_STORE: Final = {"Cache-Control": "no-store"}


def application(issuer: Issuer, backstage: bool = False) -> web.Application:
    """The issuer's endpoints below `PATH`, with its metadata at every place that clients look.

    Args:
        issuer: what answers.
        backstage: also serve `BACKSTAGE`.
    """

    async def metadata(_: web.Request) -> web.Response:
        return web.json_response(issuer.metadata())

    async def jwks(_: web.Request) -> web.Response:
        issuer.key_fetches += 1
        if issuer.keys_down:
            return web.json_response({"error": "temporarily_unavailable"}, status=503)
        return web.json_response({"keys": [key.jwk for key in issuer.keys]})

    app = web.Application(middlewares=[_answer_errors])
    app.add_routes(
        [
            web.get(f"/.well-known/oauth-authorization-server{PATH}", metadata),
            web.get(f"/.well-known/openid-configuration{PATH}", metadata),
            web.get(f"{PATH}/.well-known/openid-configuration", metadata),
            web.get(f"{PATH}/jwks", jwks),
            *_flows(issuer),
        ]
    )
    if backstage:
        app.add_routes(_backstage(issuer))
    return app


def _flows(issuer: Issuer) -> list[web.RouteDef]:
    async def register(request: web.Request) -> web.Response:
        try:
            document = await request.json()
        except ValueError as error:
            raise OAuthError("invalid_client_metadata", "The body is not JSON.") from error
        return web.json_response(issuer.register(document), status=201, headers=_NO_STORE)

    async def authorize(request: web.Request) -> web.Response:
        location = await issuer.authorize(_single(request.query.items()))
        return web.Response(status=302, headers={"Location": location, **_NO_STORE})

    async def token(request: web.Request) -> web.Response:
        return web.json_response(issuer.token(await _form(request)), headers=_NO_STORE)

    async def revoke(request: web.Request) -> web.Response:
        issuer.forget(await _form(request))
        return web.Response(headers=_NO_STORE)

    return [
        web.post(f"{PATH}/oauth2/register", register),
        web.get(f"{PATH}/oauth2/authorize", authorize),
        web.post(f"{PATH}/oauth2/token", token),
        web.post(f"{PATH}/oauth2/revoke", revoke),
    ]


def _backstage(issuer: Issuer) -> list[web.RouteDef]:
    async def change(request: web.Request) -> web.Response:
        issuer.keys_down = bool((await request.json())["keys_down"])
        return web.Response(status=204)

    async def token(request: web.Request) -> web.Response:
        """A token without a login: the query names subject and client, a body whatever `Issuer.mint` takes."""
        changes: dict[str, Any] = dict(request.query)
        if request.can_read_body:
            changes |= await request.json()
        if changes.pop("unpublished", False):
            changes["signer"] = Signer("ES256")
        return web.Response(text=issuer.mint(**changes), headers=_NO_STORE)

    return [
        web.post(BACKSTAGE, change),
        web.get(f"{BACKSTAGE}/token", token),
        web.post(f"{BACKSTAGE}/token", token),
    ]


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except OAuthError as error:
        body = {"error": error.code, "error_description": error.description}
        return web.json_response(body, status=error.status, headers=_NO_STORE)


async def _form(request: web.Request) -> Params:
    return _single((name, value) for name, value in (await request.post()).items() if isinstance(value, str))


def _single(pairs: Iterable[tuple[str, str]]) -> Params:
    """Parameters by name; none may come twice (RFC 6749 section 3.1)."""
    params: Params = {}
    for name, value in pairs:
        if name in params:
            raise OAuthError("invalid_request", "A parameter was sent twice.")
        params[name] = value
    return params


@asynccontextmanager
async def serving(
    issuer: Issuer, host: str = "127.0.0.1", port: int = 0, *, backstage: bool = False
) -> AsyncIterator[str]:
    """Serve the issuer in this event loop for as long as the context is open; gives and sets its URL.

    Raises:
        OSError: the address cannot be had.
    """
    listener = socket.create_server((host, port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # see backend.serving
    issuer.url = f"http://{host}:{listener.getsockname()[1]}{PATH}"
    runner = web.AppRunner(
        application(issuer, backstage), access_log=None, shutdown_timeout=1, handler_cancellation=True
    )
    try:
        await runner.setup()
        await web.SockSite(runner, listener).start()
        yield issuer.url
    finally:
        await runner.cleanup()
        listener.close()


# --- a process of its own ----------------------------------------------------------------------


async def _serve_forever(issuer: Issuer, config: Path | None) -> None:
    if config is not None:
        issuer.on_approval = _mirror(config)
    async with serving(issuer, backstage=True) as url:
        print(f"demo issuer: {url}", flush=True)
        await asyncio.Event().wait()


def _mirror(config: Path) -> Callable[[Approval], Awaitable[None]]:
    """Every approval becomes a consent in the sidecar's store, as an authorization server's hook would do it."""
    # What a deployment runs as a command of its own; here its start would be a second of every login.
    from sidecar.cli import main as mcp_sidecar

    async def mirror(approval: Approval) -> None:
        words = ["consent", "grant", approval.subject, approval.client_id]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = await asyncio.to_thread(mcp_sidecar, [*words, "--config", str(config)])
        print(f"$ mcp-sidecar {' '.join(words)}\n{said.getvalue().rstrip()}", flush=True)
        if status != 0:
            raise OAuthError("temporarily_unavailable", "The approval could not be recorded.", 503)

    return mirror


def main(argv: list[str] | None = None) -> None:
    """Serve the issuer until interrupted, on any free port, which it prints."""
    parser = argparse.ArgumentParser(prog="python -m sidecar.demo.issuer_server", description=main.__doc__)
    parser.add_argument("--resource", required=True, help="what its tokens are for")
    parser.add_argument("--config", type=Path, help="the sidecar's: approvals become consents in its store")
    options = parser.parse_args(argv)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_forever(Issuer(resources=(options.resource,)), options.config))


if __name__ == "__main__":
    main()
