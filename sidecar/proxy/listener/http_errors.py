"""Errors of the HTTP server: an unsafe parser at its start, and answers to what never became a request."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from sidecar.errors import ErrorCode, Refusal
from sidecar.protocol.answers import refusal_answer
from sidecar.proxy.listener.client_connection import ErrorAnswer
from sidecar.proxy.listener.http_answers import Answer
from sidecar.proxy.listener.reply import SERVER

Malformed = Callable[[Refusal], str]


class UnsafeParserError(RuntimeError):
    """Lack of aiohttp's C parser: the pure-Python one reads requests more leniently."""


def check_parser() -> None:
    """Refuse to serve with the lenient parser.

    Raises:
        UnsafeParserError: aiohttp's C extension is missing.
    """
    if HttpRequestParser is HttpRequestParserPy:
        raise UnsafeParserError("aiohttp's C extension is missing; install a wheel of aiohttp that has it")


def refused(malformed: Malformed) -> ErrorAnswer:
    """Make the error answers of the public listener, from the error table.

    Args:
        malformed: records a request that could not be parsed; returns its request id.
    """

    def answer(status: int, exc: BaseException | None) -> Answer:
        code = ErrorCode.REQUEST_MALFORMED if 400 <= status < 500 else ErrorCode.INTERNAL
        refusal = Refusal(code, log=type(exc).__name__ if exc is not None else None)
        request_id = malformed(refusal)
        made = refusal_answer(refusal, None)
        return Answer(made.status, (SERVER, *made.headers), made.body, request_id)

    return answer
