"""The HTTP server under the pipeline: aiohttp's low-level one, told to keep what it reads to itself.

Out of the box a request that cannot be parsed is quoted in the 400 and logged with a traceback,
headers and token included; a client that leaves is not noticed; bodies are inflated unasked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy
from aiohttp.web import BaseRequest, Response, Server, ServerRunner, StreamResponse
from aiohttp.web_protocol import RequestHandler

from sidecar.config.settings import Limits
from sidecar.errors import ErrorCode, Refusal
from sidecar.protocol.answers import refusal_answer
from sidecar.proxy.client import SERVER

Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]
Malformed = Callable[[Refusal], str]

IDLE_CONNECTION = 75.0
"""Seconds an idle connection of a client is kept."""


class UnsafeParserError(RuntimeError):
    """aiohttp runs without its C parser, whose pure-Python twin reads requests more leniently."""


def check_parser() -> None:
    """Refuse to serve with the lenient parser.

    Raises:
        UnsafeParserError: aiohttp's C extension is missing.
    """
    if HttpRequestParser is HttpRequestParserPy:
        raise UnsafeParserError("aiohttp's C extension is missing; install a wheel of aiohttp that has it")


class _QuietHandler(RequestHandler):
    """One connection; its errors are answered from our table and never quote the request."""

    __slots__ = ("_malformed",)

    def __init__(self, manager: Server, malformed: Malformed, **options: Any) -> None:
        super().__init__(manager, **options)
        self._malformed = malformed

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> StreamResponse:
        """Answer what never became a request, or what no handler may let happen."""
        code = ErrorCode.REQUEST_MALFORMED if 400 <= status < 500 else ErrorCode.INTERNAL
        refusal = Refusal(code, log=type(exc).__name__ if exc is not None else None)
        request_id = self._malformed(refusal)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        answer = refusal_answer(refusal, None)
        headers = {**dict(answer.headers), "Server": SERVER, "X-Request-Id": request_id}
        response = Response(status=answer.status, body=answer.body, headers=headers)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Tracebacks of the server hold what it was reading."""


class _QuietServer(Server):
    def __init__(self, handler: Handler, malformed: Malformed, **options: Any) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._malformed = malformed
        self._options = options

    def __call__(self) -> RequestHandler:
        return _QuietHandler(self, self._malformed, loop=self._loop, **self._options)


def make_runner(handler: Handler, malformed: Malformed, limits: Limits, grace: float) -> ServerRunner:
    """A runner of the public listener, not yet bound to an address.

    Args:
        handler: serves one request.
        malformed: told about requests that could not be parsed; gives each its request id.
        limits: `header` bounds the request line and each header.
        grace: seconds that calls in flight are given on shutdown.
    """
    server = _QuietServer(
        handler,
        malformed,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=IDLE_CONNECTION,
        max_line_size=limits.header,
        max_field_size=limits.header,
    )
    return ServerRunner(server, handle_signals=False, shutdown_timeout=grace)
