"""A connection of a listener without a client, to compare what it makes of heads with and without the parser."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from aiohttp import StreamReader
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

from sidecar.config.settings.settings import Limits
from sidecar.errors import Refusal
from sidecar.protocol import headers
from sidecar.proxy.listener.accepting.client_server import ClientServer
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.client_connection import ClientConnection
from sidecar.proxy.listener.http_answers import Answer
from sidecar.proxy.listener.reply import ClientReply
from sidecar.proxy.listener.request_filter import RequestFilter
from sidecar.proxy.listener.request_heads import RequestHead, arrived

Facts = tuple[object, ...]
ACCEPT = b"Accept: application/json, text/event-stream"


def request_filter(max_headers: int = 4096) -> RequestFilter:
    return RequestFilter({}, "/mcp", None, frozenset({"x"}), frozenset(), 1 << 20, max_headers)


async def _unused(_: ClientRequest) -> Answer:
    raise AssertionError


@dataclass
class Listener:
    """A listener's connection without a client, whose memory of heads is judged."""

    gate: RequestFilter = field(default_factory=request_filter)
    connection: ClientConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = ClientServer(_unused, lambda status, _: Answer(status), Limits())()

    def parsed(self, data: bytes) -> ClientRequest | None:
        """The request as the parser reads it; None for bytes that are no request, or several."""
        limit = Limits().header
        parser = HttpRequestParser(
            self.connection, self.connection.loop, 1 << 16, max_line_size=limit, max_field_size=limit
        )
        try:
            found, _, _ = parser.feed_data(data)
        except HttpProcessingError:
            return None
        if len(found) != 1:
            return None
        message, body = found[0]
        if isinstance(message, HttpProcessingError):
            return None
        arrival = arrived(data)
        if arrival is not None:
            self.connection.heads.find(data, arrival)  # so does the connection
        content: StreamReader = body
        return ClientRequest(RequestHead(message), message, content, self.connection, arrival=arrival)

    def judged(self, request: ClientRequest | None) -> Facts | None:
        """Return what the gates before the policy found in a request; None if one refuses it."""
        if request is None:
            return None
        try:
            if self.gate.answer(request, ClientReply(request, "0", 1)):
                return None
            self.gate.check(request)
            token = request.access_token()
            head = request.head
            head.token = head.token or sha256(token.encode()).digest()
            head.described = head.described or headers.read(request.headers.items())
        except Refusal:
            return None
        facts: tuple[Any, ...] = (head.method, head.raw_path, head.version, head.chunks, head.keeps_alive)
        return (*facts, head.traceparent, head.token, head.described, token, request.content_length)

    def learn(self, data: bytes) -> bool:
        """Serve a request in full, and remember its head if it is accepted."""
        request = self.parsed(data)
        accepted = self.judged(request) is not None
        if accepted and request is not None:
            request.remember_head()
        return accepted

    def found(self, data: bytes) -> ClientRequest | None:
        """The request without the parser, if all but its token is known."""
        arrival = arrived(data)
        head = None if arrival is None else self.connection.heads.find(data, arrival)
        if arrival is None or head is None or arrival.end + arrival.length != len(data):
            return None
        return ClientRequest(head, None, StreamReader(self.connection, 1), self.connection, data, arrival)


def posted(*lines: bytes, path: bytes = b"/mcp") -> bytes:
    usual = (b"POST " + path + b" HTTP/1.1", b"Host: x", ACCEPT, b"Content-Type: application/json")
    return b"\r\n".join((*usual, *lines, b"Content-Length: 2", b"", b"{}"))


def authorized(token: bytes, *lines: bytes) -> bytes:
    return posted(b"Authorization: Bearer " + token, *lines)


def size(data: bytes) -> int:
    """Bytes of names and values."""
    return sum(len(line) - len(b": ") for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:])
