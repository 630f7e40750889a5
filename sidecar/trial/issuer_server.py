"""HTTP endpoints of the trial issuer: metadata, keys, login, registration, and tokens by URL. On loopback only."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from sidecar.config.settings.addresses import is_loopback
from sidecar.identity.jwt.trial_mark import TRIAL
from sidecar.identity.parties.party_names import MAX_ACCOUNT, MAX_CLIENT_ID
from sidecar.trial.issuer import Params, TrialIssuer
from sidecar.trial.local_requests import local_only
from sidecar.trial.oauth import OAuthError

PATH: Final = "/api/auth"
TOKEN: Final = "/token"  # noqa: S105 - a path
"""Path that gives a token by POST; every program of this machine can act as any account."""
_NO_STORE: Final = {"Cache-Control": "no-store"}
_MAX_BODY: Final = 64 * 1024
_SCOPES: Final = re.compile(r"[!#-\[\]-~ ]{0,4096}")  # RFC 6749 section 3.3
_NAMED: Final = {"account": MAX_ACCOUNT, "client": MAX_CLIENT_ID}


def application(
    issuer: TrialIssuer,
    extra: Iterable[web.RouteDef] = (),
    log: Callable[[str], None] = lambda line: None,
) -> web.Application:
    """Return the issuer's endpoints below `PATH`, with its metadata at every location that clients try.

    Args:
        issuer: the issuer, whose `url` is set before the first request.
        extra: further routes.
        log: takes a line per request.
    """

    async def metadata(_: web.Request) -> web.Response:
        return web.json_response(issuer.metadata())

    async def jwks(_: web.Request) -> web.Response:
        issuer.key_fetches += 1
        if issuer.keys_down:
            return web.json_response({"error": "temporarily_unavailable"}, status=503)
        return web.json_response({"keys": [key.jwk for key in issuer.keys], TRIAL: True})

    app = web.Application(
        middlewares=[local_only(lambda: urlsplit(issuer.url).port or 0, log)], client_max_size=_MAX_BODY
    )
    app.add_routes(
        [
            web.get(f"/.well-known/oauth-authorization-server{PATH}", metadata),
            web.get(f"/.well-known/openid-configuration{PATH}", metadata),
            web.get(f"{PATH}/.well-known/openid-configuration", metadata),
            web.get(f"{PATH}/jwks", jwks),
            *_flows(issuer),
            web.post(TOKEN, _token_by_url(issuer)),
            *extra,
        ]
    )
    return app


def _flows(issuer: TrialIssuer) -> list[web.RouteDef]:
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

    async def userinfo(request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").partition(" ")[2]
        return web.json_response(issuer.userinfo(token), headers=_NO_STORE)

    return [
        web.get(f"{PATH}/oauth2/userinfo", userinfo),
        web.post(f"{PATH}/oauth2/register", register),
        web.get(f"{PATH}/oauth2/authorize", authorize),
        web.post(f"{PATH}/oauth2/token", token),
        web.post(f"{PATH}/oauth2/revoke", revoke),
    ]


def _token_by_url(issuer: TrialIssuer) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def token(request: web.Request) -> web.Response:
        """Issue a token for the `scope`, `account` and `client` of the query, without a login."""
        given = _single(request.query.items())
        wrong = given.keys() - {"scope", *_NAMED}
        if wrong:
            raise OAuthError("invalid_request", "Accepted parameters: scope, account, client.")
        scopes = given.get("scope")
        if scopes is not None and not _SCOPES.fullmatch(scopes):
            raise OAuthError("invalid_scope", "Scopes are words of visible ASCII, separated by blanks.")
        for name, most in _NAMED.items():
            text = given.get(name, "x")
            if not text or len(text) > most or not text.isprintable() or text != text.strip():
                raise OAuthError("invalid_request", f"{name} must be printable, with 1 to {most} characters.")
        made = issuer.mint(
            subject=given.get("account"),
            client_id=given.get("client"),
            scopes=None if scopes is None else scopes.split(),
        )
        return web.Response(text=f"{made}\n", headers=_NO_STORE)

    return token


async def _form(request: web.Request) -> Params:
    return _single((name, value) for name, value in (await request.post()).items() if isinstance(value, str))


def _single(pairs: Iterable[tuple[str, str]]) -> Params:
    """Return parameters by name, refusing repeated ones (RFC 6749 section 3.1)."""
    params: Params = {}
    for name, value in pairs:
        if name in params:
            raise OAuthError("invalid_request", "A parameter was sent twice.")
        params[name] = value
    return params


@asynccontextmanager
async def serving(
    issuer: TrialIssuer,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    extra: Iterable[web.RouteDef] = (),
    log: Callable[[str], None] = lambda line: None,
) -> AsyncIterator[str]:
    """Serve the issuer in this event loop while the context is open; set and return its URL.

    Args:
        issuer: the issuer.
        host: an address of loopback.
        port: 0 for any free one.
        extra: further routes.
        log: takes a line per request.

    Raises:
        OSError: the address cannot be bound.
        ValueError: the host is not on loopback.
    """
    if not is_loopback(host):
        raise ValueError(f"a trial issuer serves loopback only, not {host}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    shown = f"[{host}]" if ":" in host else host
    issuer.url = f"http://{shown}:{listener.getsockname()[1]}{PATH}"
    runner = web.AppRunner(
        application(issuer, extra, log), access_log=None, shutdown_timeout=1, handler_cancellation=True
    )
    try:
        await runner.setup()
        await web.SockSite(runner, listener).start()
        yield issuer.url
    finally:
        await runner.cleanup()
        listener.close()
