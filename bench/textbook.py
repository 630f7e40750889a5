"""The simplest proxy: aiohttp on both sides, no checks."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

BACKEND: web.AppKey[str] = web.AppKey("backend", str)
CLIENT: web.AppKey[aiohttp.ClientSession] = web.AppKey("client", aiohttp.ClientSession)


async def _forward(request: web.Request) -> web.Response:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    async with request.app[CLIENT].post(request.app[BACKEND], data=await request.read(), headers=headers) as answer:
        return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)


async def _client(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession() as session:
        app[CLIENT] = session
        yield


def _app(backend: str) -> web.Application:
    app = web.Application()
    app[BACKEND] = backend
    app.cleanup_ctx.append(_client)
    app.router.add_post("/mcp", _forward)
    return app


if __name__ == "__main__":
    import uvloop

    uvloop.install()
    web.run_app(_app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
