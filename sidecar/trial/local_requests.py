"""Filter of requests to the trial issuer: only programs and pages of this machine may use it.

A page of another site can send requests to loopback from the browser of this machine's user. It is recognized by its
`Origin` or `Sec-Fetch-Site`, and by its name in `Host` when its DNS points to loopback (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDictProxy

from sidecar.config.settings.addresses import is_loopback
from sidecar.trial.oauth import OAuthError

NOTICE: Final = "trial issuer, never for production"
"""Beginning of every line of the log."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def local_only(port: Callable[[], int], log: Callable[[str], None]) -> Any:
    """Return the middleware that refuses foreign requests, answers errors, and logs one line per request.

    Args:
        port: returns the port that is served.
        log: takes a line, in which nothing of the request is but its method and the path of its route.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = refusal_of(request.headers, port())
        if refusal is not None:
            answer: web.StreamResponse = error_answer(OAuthError("access_denied", refusal, 403))
        else:
            answer = await _answered(request, handler)
        resource = request.match_info.route.resource
        path = "an unknown path" if resource is None else resource.canonical
        log(f"{NOTICE}: {request.method} {path} {answer.status}" + ("" if refusal is None else f" ({refusal})"))
        return answer

    return middleware


def refusal_of(headers: CIMultiDictProxy[str], port: int) -> str | None:
    """Return why a request is refused; None for one from this machine.

    Args:
        headers: of the request.
        port: the port that is served.
    """
    hosts = headers.getall("Host", [])
    if len(hosts) != 1 or hosts[0].lower() not in {f"{name}:{port}" for name in _NAMES}:
        return "the Host must be this machine's: 127.0.0.1 or localhost, with the port"
    origins = headers.getall("Origin", ())
    if len(origins) > 1 or not all(map(_is_local, origins)):
        return "the Origin must be a page of this machine"
    if any(site.strip().lower() == "cross-site" for site in headers.getall("Sec-Fetch-Site", ())):
        return "a page of another site must not use it; open the URL yourself, or use a page at http://127.0.0.1"
    return None


_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")


def _is_local(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and is_loopback(parts.hostname or "")
    except ValueError:
        return False


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except OAuthError as error:
        return error_answer(error)
    except web.HTTPException as error:  # a path or method without a route
        allow = {name: value for name, value in error.headers.items() if name == "Allow"}
        return web.Response(status=error.status, text=f"{error.reason}\n", headers=allow)


def error_answer(error: OAuthError) -> web.Response:
    """Return an error answer (RFC 6749 section 5.2)."""
    body = {"error": error.code, "error_description": error.description}
    return web.json_response(body, status=error.status, headers={"Cache-Control": "no-store"})
