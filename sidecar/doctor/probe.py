"""HTTP of the doctor: one request at a time, bounded in time and size, without redirects, cookies and decompression."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import aiohttp
from yarl import URL

from sidecar import __version__
from sidecar.doctor.rules.address import is_fetchable
from sidecar.doctor.rules.probe_answer import ProbeAnswer
from sidecar.doctor.rules.stream_timing import StreamTrial, is_stream
from sidecar.identity.egress.issuer_client import EgressError, IssuerClient
from sidecar.identity.egress.proxies import Proxies
from sidecar.identity.jwt.discovery import MAX_DOCUMENT, session
from sidecar.protocol.sse import sse

ANSWER_WITHIN: Final = 10.0
"""Seconds for one answer."""
ALL_WITHIN: Final = 120.0
"""Seconds for all answers together; later requests are not sent."""
_USER_AGENT: Final = f"mcp-policy-sidecar/{__version__} (doctor)"
_LEAST: Final = 0.05  # seconds that a request needs
_TAIL: Final = 0.2  # seconds after the first bytes, in which a short stream ends


class Probe:
    """Sender of the doctor's requests; use it as an async context manager.

    Args:
        public: the URL under examination; others are asked by https only, unless it is of this machine.
        within: seconds for all requests.
    """

    def __init__(self, public: str, within: float = ALL_WITHIN) -> None:
        self._public = public
        self._deadline = asyncio.get_running_loop().time() + within
        self._client = IssuerClient(session(), proxies=Proxies.of(os.environ))

    async def __aenter__(self) -> Probe:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.session.close()

    async def send(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> ProbeAnswer:
        """Send a request and read its answer: whole, or of an event stream until its first response."""
        return await self._bounded(url, self._send(method, url, headers or {}, body), ANSWER_WITHIN)

    async def open_stream(
        self, method: str, headers: Mapping[str, str], body: bytes | None, wait: float
    ) -> StreamTrial:
        """Open a stream at the public URL and wait for its first bytes, at most `wait` seconds."""
        trials: list[StreamTrial] = []
        self._deadline = max(self._deadline, asyncio.get_running_loop().time() + ANSWER_WITHIN + wait)
        answer = await self._bounded(
            self._public, self._open(method, headers, body, wait, trials), ANSWER_WITHIN + wait
        )
        return trials[0] if trials else StreamTrial(answer, waited=wait)

    async def _bounded(self, url: str, request: Coroutine[Any, Any, ProbeAnswer], seconds: float) -> ProbeAnswer:
        """Await a request; a failure becomes an answer with its reason."""
        left = self._deadline - asyncio.get_running_loop().time()
        refused = None if url == self._public or is_fetchable(url, self._public) else "no https:// URL"
        refused = "the time is over" if left < _LEAST else refused
        if refused is not None:
            request.close()
            return ProbeAnswer(url, problem=f"not asked: {refused}")
        try:
            async with asyncio.timeout(min(seconds, left)):
                return await request
        except TimeoutError:
            problem = f"no answer in {round(min(seconds, left), 1):g} s"
        except (aiohttp.ClientError, EgressError, OSError, ValueError) as error:
            problem = self._client.describe(error, url)
        return ProbeAnswer(url, problem=problem)

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        sent = {"User-Agent": _USER_AGENT, **headers}
        options = await self._client.options(url, sent)
        # Its own timeouts are off: `_bounded` has the limit. The URL is sent as it is written.
        unlimited = aiohttp.ClientTimeout(total=None)
        target = URL(url, encoded=True)
        return await self._client.session.request(method, target, data=body, timeout=unlimited, **options)

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> ProbeAnswer:
        async with await self._request(method, url, headers, body) as response:
            head = _head(url, response)
            data, parser = bytearray(), sse.Parser(MAX_DOCUMENT)
            try:
                async for chunk in response.content.iter_any():
                    data += chunk
                    if len(data) > MAX_DOCUMENT:
                        return _with(head, problem=f"answered more than {MAX_DOCUMENT} bytes")
                    if head.media_type == sse.MEDIA_TYPE and any(each.data for each in parser.feed(chunk)):
                        break
            except sse.EventTooLarge:
                return _with(head, problem=f"answered more than {MAX_DOCUMENT} bytes")
            return _with(head, body=bytes(data))

    async def _open(
        self, method: str, headers: Mapping[str, str], body: bytes | None, wait: float, trials: list[StreamTrial]
    ) -> ProbeAnswer:
        async with await self._request(method, self._public, headers, body) as response:
            head = _head(self._public, response)
            trials.append(StreamTrial(head, waited=wait))
            if not is_stream(trials[0]):
                trials[0] = StreamTrial(_with(head, body=await response.content.read(MAX_DOCUMENT)))
                return head
            started = time.monotonic()
            first = await _chunk(response, wait)
            if first:
                seconds = time.monotonic() - started
                tail = await _chunk(response, _TAIL)
                ended = tail == b""
                trials[0] = StreamTrial(head, None if ended else seconds, wait, ended)
            elif first == b"":
                trials[0] = StreamTrial(head, waited=wait, ended=True)
            response.close()
            return head


async def _chunk(response: aiohttp.ClientResponse, within: float) -> bytes | None:
    """Return bytes, none at the end of the stream, or None when nothing arrives in time."""
    try:
        async with asyncio.timeout(within):
            return await response.content.readany()
    except TimeoutError:
        return None


def _head(url: str, response: aiohttp.ClientResponse) -> ProbeAnswer:
    headers = tuple((name.lower(), value) for name, value in response.headers.items())
    return ProbeAnswer(url, response.status, headers, at=time.time())


def _with(head: ProbeAnswer, *, body: bytes = b"", problem: str | None = None) -> ProbeAnswer:
    return ProbeAnswer(head.url, head.status, head.headers, body, problem, head.at)
