"""Reverse proxy between the doctor and a sidecar, with a fault to plant."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL


@dataclass(slots=True)
class Forwarded:
    """A request as the proxy sends it on; a fault changes it."""

    method: str
    path: str
    headers: CIMultiDict[str]


@dataclass(slots=True)
class Returned:
    """An answer as the proxy sends it back; a fault changes it."""

    path: str
    status: int
    headers: CIMultiDict[str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault of the proxy; without arguments it has none.

    Attributes:
        request: changes a request.
        answer: changes an answer that is no stream.
        buffers: it keeps the bytes of streams until they end.
        compresses: it says so in the head of streams.
    """

    request: Callable[[Forwarded], object] = lambda _: None
    answer: Callable[[Returned], object] = lambda _: None
    buffers: bool = False
    compresses: bool = False


SOUND = Planted()
_OWN = ("Connection", "Transfer-Encoding", "Content-Length", "Keep-Alive")


class Front:
    """The proxy.

    Attributes:
        upstream: origin of the sidecar.
        planted: the fault at work.
    """

    def __init__(self) -> None:
        self.upstream = ""
        self.planted = SOUND
        self._http: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        """Serve on loopback while the context is open."""
        server = web.Server(self._answer)
        runner = web.ServerRunner(server, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as self._http:
            try:
                yield
            finally:
                await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert self._http is not None
        sent = Forwarded(request.method, request.raw_path, CIMultiDict(request.headers))
        self.planted.request(sent)
        url = URL(self.upstream + sent.path, encoded=True)
        body = await request.read()
        async with self._http.request(
            sent.method, url, data=body or None, headers=sent.headers, allow_redirects=False
        ) as answer:
            if answer.content_type == "text/event-stream":
                return await self._stream(request, answer)
            returned = Returned(sent.path, answer.status, CIMultiDict(answer.headers), await answer.read())
        self.planted.answer(returned)
        headers = CIMultiDict((name, value) for name, value in returned.headers.items() if name not in _OWN)
        return web.Response(status=returned.status, headers=headers, body=returned.body)

    async def _stream(self, request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        made = web.StreamResponse(status=answer.status, headers={"Content-Type": "text/event-stream"})
        if self.planted.compresses:
            made.headers["Content-Encoding"] = "gzip"
        await made.prepare(request)
        kept = []
        with contextlib.suppress(ConnectionError):  # the client has read enough
            async for chunk in answer.content.iter_any():
                if self.planted.buffers:
                    kept.append(chunk)
                else:
                    await made.write(chunk)
            await made.write(b"".join(kept))
        return made
