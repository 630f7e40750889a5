"""Conversation with a backend: a few requests on the sidecar's own behalf, in either era of the protocol.

It speaks 2026-07-28 where `server/discover` offers it, else the older revisions with a session that it ends
afterwards. It sends no account identity. Pages, bytes and time are bounded.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar import __version__
from sidecar.errors import Refusal
from sidecar.model import Revision
from sidecar.outcome import Event
from sidecar.protocol import results
from sidecar.protocol.headers import check_session
from sidecar.protocol.meta import CAPABILITIES_KEY, CLIENT_KEY, VERSION_KEY
from sidecar.protocol.sse import sse
from sidecar.proxy.backend.answer import AnswerMemoryError, BackendAnswer, UpstreamError
from sidecar.proxy.backend.pool import BackendPool, Outgoing
from sidecar.proxy.memory import ANSWER_VALUE, MemoryLease, decoded_size, unbounded

Json = dict[str, Any]

MAX_PAGES: Final = 100
MAX_BYTES: Final = 8 * 1024 * 1024
"""Bytes of all answers of one conversation."""
USER_AGENT: Final = f"mcp-policy-sidecar/{__version__}"

_DISCOVER_WITHIN: Final = 3.0  # seconds for `server/discover`, which some older servers never answer
_END_WITHIN: Final = 2.0  # seconds for the end of a session
_DRAIN_WITHIN: Final = 0.2  # seconds for the end of a stream after its response
_VERSION: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MODERN: Final = Revision.V2026_07_28.value
_NEWEST_LEGACY: Final = Revision.V2025_11_25.value
_CLIENT: Final[Json] = {"name": "mcp-policy-sidecar", "version": __version__}


class ListingError(Exception):
    """Failure to read the backend's lists; the message holds nothing that the backend sent.

    Args:
        message: the failure.
        status: HTTP status of the answer, where that is the failure.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Welcome:
    """First answer of a backend: the result of `server/discover` or of `initialize`.

    Attributes:
        version: the revision that is spoken.
        result: as sent.
    """

    version: str
    result: Mapping[str, Any]

    @property
    def modern(self) -> bool:
        """True when the backend speaks 2026-07-28, which has no sessions."""
        return self.version == _MODERN


class Conversation:
    """Requests of one conversation: their ids and headers, and the time and bytes that are left.

    Args:
        upstream: the backend.
        within: seconds for all of it.
        memory: holds the pages; without one they are not counted. The caller closes it.
    """

    def __init__(self, upstream: BackendPool, within: float, memory: MemoryLease | None = None) -> None:
        self._upstream = upstream
        self._memory = memory or unbounded()
        self._kept = 0  # bytes of the pages read so far, decoded
        self._id = 0
        self._left = MAX_BYTES
        self.deadline = asyncio.get_running_loop().time() + within
        self.modern = True
        self.session: str | None = None
        self.version: str | None = _MODERN

    async def request(
        self, method: str, params: Json, within: float | None = None
    ) -> tuple[BackendAnswer, results.Response | None]:
        """Send a request; return the head of its answer, and the response where the status is 2xx.

        Args:
            method: the MCP method.
            params: without `_meta`.
            within: seconds, where they are fewer than the listing has left.

        Raises:
            ListingError: a 2xx answer has no usable response, or too many bytes have come.
            UpstreamError: there is no answer.
        """
        self._id += 1
        if self.modern:
            meta = {VERSION_KEY: _MODERN, CAPABILITIES_KEY: {}, CLIENT_KEY: _CLIENT}
            params = {**params, "_meta": meta}
        message = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        answer = await self._send(method, message, within)
        try:
            if not 200 <= answer.status < 300:
                return answer, None
            return answer, await self._response(answer)
        finally:
            answer.close()

    async def notify(self, method: str) -> None:
        """Send a notification and read its empty answer, so that the connection is free again."""
        answer = await self._send(method, {"jsonrpc": "2.0", "method": method})
        try:
            await answer.read(self._left)
        finally:
            answer.close()

    async def end(self) -> None:
        """End the session, if there is one."""
        if self.session is None:
            return
        self.deadline = asyncio.get_running_loop().time() + _END_WITHIN
        outgoing = Outgoing("DELETE", self._headers(None), None, self.deadline)
        (await self._upstream.send(outgoing)).close()

    async def _send(self, method: str, message: Json, within: float | None = None) -> BackendAnswer:
        body = json.dumps(message, separators=(",", ":")).encode()
        deadline = self.deadline
        if within is not None:
            deadline = min(deadline, asyncio.get_running_loop().time() + within)
        return await self._upstream.send(Outgoing("POST", self._headers(method), body, deadline, memory=self._memory))

    def _headers(self, method: str | None) -> list[tuple[str, str]]:
        headers = [("User-Agent", USER_AGENT), ("Accept", "application/json, text/event-stream")]
        if method is not None:
            headers.append(("Content-Type", "application/json"))
        if self.version is not None:
            headers.append(("MCP-Protocol-Version", self.version))
        if self.modern and method is not None:
            headers.append(("Mcp-Method", method))
        if self.session is not None:
            headers.append(("Mcp-Session-Id", self.session))
        return headers

    async def _response(self, answer: BackendAnswer) -> results.Response:
        if answer.media_type == sse.MEDIA_TYPE:
            return await self._streamed(answer)
        data = await answer.read(self._left)
        self._left -= len(data)
        self._hold_decoded(data)
        try:
            response = results.read_response(data)
        except results.Unusable as error:
            raise ListingError(str(error)) from None
        if response.id != self._id:
            raise ListingError("the backend answered another request's id")
        return response

    def _hold_decoded(self, data: bytes) -> None:
        """Hold memory for a decoded page, which is kept until the whole list is read, instead of its text."""
        self._kept += decoded_size(data, ANSWER_VALUE)
        if not self._memory.keep(self._kept):
            raise AnswerMemoryError

    async def _streamed(self, answer: BackendAnswer) -> results.Response:
        parser = sse.Parser(self._left)
        while chunk := await answer.chunk():
            self._left -= len(chunk)
            if self._left < 0:
                raise UpstreamError(Event.TOO_LARGE, f"the list is larger than {MAX_BYTES} bytes")
            try:
                events = parser.feed(chunk)
            except sse.EventTooLarge:
                raise UpstreamError(Event.TOO_LARGE, f"the list is larger than {MAX_BYTES} bytes") from None
            for event in events:
                data = event.data.encode("utf-8", "replace")
                if not self._memory.decode(decoded_size(data, ANSWER_VALUE)):
                    raise AnswerMemoryError
                message = results.read_event(event.data)
                self._memory.decoded()
                if isinstance(message, results.Response) and message.id == self._id:
                    self._hold_decoded(data)
                    await _drain(answer)
                    return message
        raise ListingError("the backend's stream ended without its response")


async def discover(conversation: Conversation) -> Welcome | None:
    """Return the answer to `server/discover` that offers 2026-07-28; any other answer means the older revisions.

    Raises:
        UpstreamError: nothing was sent.
    """
    try:
        _, response = await conversation.request("server/discover", {}, _DISCOVER_WITHIN)
    except ListingError:
        return None
    except UpstreamError as error:
        if error.event is Event.NOT_SENT:
            raise
        return None
    if response is None or response.result is None:
        return None
    offered = response.result.get("supportedVersions")
    if not isinstance(offered, list) or _MODERN not in offered:
        return None
    return Welcome(_MODERN, response.result)


async def initialize(conversation: Conversation) -> Welcome:
    """Begin a session of the older revisions; `end` ends it.

    Raises:
        ListingError: the backend refuses, or its answer is unusable.
        UpstreamError: there is no answer.
    """
    conversation.modern, conversation.version = False, None
    params = {"protocolVersion": _NEWEST_LEGACY, "capabilities": {}, "clientInfo": _CLIENT}
    answer, response = await conversation.request("initialize", params)
    session = answer.header("mcp-session-id")
    if response is not None and session is not None:
        try:
            check_session(session)
        except Refusal:
            raise ListingError("the backend's Mcp-Session-Id is not visible ASCII") from None
        conversation.session = session
    result = _result("initialize", answer, response)
    version = result.get("protocolVersion")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ListingError("the backend's protocolVersion is no date")
    conversation.version = version
    await conversation.notify("notifications/initialized")
    return Welcome(version, result)


async def entries(conversation: Conversation, method: str, member: str) -> list[Any]:
    """Return the entries of all pages of a list, as sent.

    Args:
        conversation: open in its era.
        method: such as `tools/list`.
        member: the member of the result that holds them.

    Raises:
        ListingError: it cannot be read, or not completely.
        UpstreamError: there is no answer.
    """
    found: list[Any] = []
    params: Json = {}
    for _ in range(MAX_PAGES):
        answer, response = await conversation.request(method, params)
        result = _result(method, answer, response)
        page, cursor = result.get(member), result.get("nextCursor")
        if not isinstance(page, list):
            raise ListingError(f"the backend's {method} has no list of {member}")
        found += page
        if not cursor:
            return found
        if not isinstance(cursor, str) or params.get("cursor") == cursor:
            raise ListingError("the backend's nextCursor is not usable")
        params = {"cursor": cursor}
    raise ListingError(f"the backend's {method} has more than {MAX_PAGES} pages")


def _result(method: str, answer: BackendAnswer, response: results.Response | None) -> Mapping[str, Any]:
    if response is None:
        raise ListingError(f"the backend answered {method} with {answer.status}", answer.status)
    if response.result is None:
        raise ListingError(f"the backend answered {method} with an error")
    return response.result


async def _drain(answer: BackendAnswer) -> None:
    """Read a stream to its end where it ends at once, so that the connection can be used again."""
    while await answer.chunk(_DRAIN_WITHIN):
        pass


async def end(conversation: Conversation) -> None:
    """End the session; a backend that does not let clients end sessions (405) or is unreachable changes nothing."""
    try:
        await conversation.end()
    except UpstreamError:
        return
