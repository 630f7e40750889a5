"""Ids of a session's requests and events, marked so that the backend cannot confuse two sessions.

Backends keep stream events for clients that reconnect, and some key them by request id alone, for all sessions (the
event store of the official Python SDK, which also has one name for all GET streams). Clients count their requests
from 0, so one client could receive the answer of another. Therefore, in a session:

- The backend sees `TAG.KIND+ID`: a tag of caller and session, `i` or `s` for an integer or a string, and the
  client's id. Any process with the key restores it without further state.
- The client sees `MAC.STREAM.ID` as the id of an event: the MAC binds it to caller, session and stream. A client
  needs it to resume a stream.

Without a session, and so in 2026-07-28, ids are unchanged: nothing can be resumed there.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import orjson

from sidecar.model import Call, Caller, CallKind, RequestId
from sidecar.protocol.jsonrpc import MAX_ID_LENGTH
from sidecar.protocol.results import Response
from sidecar.protocol.sse.sse import ServerEvent
from sidecar.protocol.strict.jsontext import BLANKS, JsonText, past
from sidecar.protocol.strict.strictjson import MAX_DEPTH, too_deep

GET_STREAM: Final = "get"
"""Name, in event ids, of the stream of the server's own messages; other streams are named by their request."""

_TAG: Final = 32  # hexadecimal digits of a tag, and of a MAC
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,15}")
_CARRIED: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")  # values that a header carries unchanged
_MARKED: Final = re.compile(rf"[0-9a-f]{{{_TAG}}}\.(?:{GET_STREAM}|c[0-9a-f]{{16}})\..+")
_ID: Final = re.compile(rf'"id"[ \t\n\r]*+:[ \t\n\r]*+("[0-9a-f]{{{_TAG}}}\.[is](?:[^"\\]|\\.)*+")')
_DISGUISED: Final = re.compile(r"\\u00[46][49]")  # the letters of `id`, escaped
_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class SessionIds:
    """Ids of one caller's session.

    Attributes:
        tag: prefix of its request ids towards the backend; useless for forging event ids.
    """

    tag: str
    _key: bytes = field(repr=False)

    @classmethod
    def of(cls, key: str, caller: Caller, session: str) -> SessionIds:
        """Return the ids of a session, made with the key that all sidecars on a store share."""
        return _session_ids(key, caller.issuer_id, caller.account, caller.subject, caller.client_id, session)

    def request(self, id_: RequestId) -> str:
        """Return the id that the backend sees."""
        return f"{self.tag}.{'i' if isinstance(id_, int) else 's'}{id_}"

    def restored(self, id_: RequestId) -> RequestId | None:
        """Return the client's id from one that the backend used; None if it is of no request of this session."""
        start = f"{self.tag}."
        if not isinstance(id_, str) or not id_.startswith(start):
            return None
        kind, literal = id_[len(start) : len(start) + 1], id_[len(start) + 1 :]
        if kind == "i":
            return int(literal) if _INTEGER.fullmatch(literal) else None
        return literal if kind == "s" and len(literal) <= MAX_ID_LENGTH else None

    def stream(self, id_: RequestId) -> str:
        """Return the name, in event ids, of the stream that answers a request."""
        return f"c{self._mac('request', self.request(id_))[:16]}"

    def event(self, stream: str, event_id: str) -> str | None:
        """Return an event's id for the client; None when no client could send it back."""
        return f"{self._mac(stream, event_id)}.{stream}.{event_id}" if _CARRIED.fullmatch(event_id) else None

    def resumed(self, event_id: str) -> tuple[str, str] | None:
        """Return the stream and the backend's id of an event to resume after; None if it is not of this session."""
        if not _MARKED.fullmatch(event_id):
            return None
        mac, stream, of_backend = event_id.split(".", 2)
        if not hmac.compare_digest(mac, self._mac(stream, of_backend)):
            return None
        return stream, of_backend

    def _mac(self, use: str, text: str) -> str:
        return blake2b(f"{use}:{text}".encode(), key=self._key, digest_size=_TAG // 2).hexdigest()


@lru_cache(_REMEMBERED)
def _session_ids(key: str, *parts: str) -> SessionIds:
    named = b"".join(b"%d:%b," % (len(raw), raw) for raw in (part.encode() for part in parts))
    made = blake2b(named, key=key.encode(), digest_size=48).digest()  # keyed (RFC 7693), and faster than HMAC
    return SessionIds(made[:16].hex(), made[16:])


class ExchangeIds:
    """Ids in one exchange with the backend.

    Args:
        call: the client's call.
        session: the ids of its session; None to leave ids unchanged.
        stream: the name of the stream that a GET resumes.
    """

    __slots__ = ("_call", "_sent", "_session", "_stream")

    def __init__(self, call: Call, session: SessionIds | None = None, stream: str = GET_STREAM) -> None:
        self._call = call
        self._session = session
        self._stream = stream
        self._sent = call.id
        if session is not None and call.kind is CallKind.REQUEST and call.id is not None:
            self._sent = session.request(call.id)
            self._stream = ""  # computed for the first stream

    @property
    def replays(self) -> bool:
        """Return whether a GET resumes the stream of one call, which carries the answer to that call only."""
        return self._call.kind is CallKind.STREAM and self._stream != GET_STREAM

    def document(self, document: Mapping[str, Any], cancelled: RequestId | None = None) -> Mapping[str, Any]:
        """Return the message to forward.

        Args:
            document: the judged message.
            cancelled: the id of the request that it cancels, as the client sent that request.
        """
        if self._session is None:
            return document
        if self._call.kind is CallKind.REQUEST:
            return {**document, "id": self._sent}
        if self._call.method == "notifications/cancelled" and cancelled is not None:
            return {**document, "params": {**document["params"], "requestId": self._session.request(cancelled)}}
        return document  # the id of a response is that of the server's request

    def own(self, response: Response) -> Response | None:
        """Return the response with the client's id; None when it answers no request of this exchange."""
        if self._call.kind is CallKind.REQUEST:
            if response.id != self._sent or self._call.id is None:
                return None
            return response if self._session is None else response.renamed(self._call.id)
        id_ = None if self._session is None else self._session.restored(response.id)
        if self._session is None or id_ is None:
            return None
        if self._stream not in (GET_STREAM, self._session.stream(id_)):
            return None  # 2025-11-25, resumability: messages of other streams are never replayed
        return response.renamed(id_)

    def text(self, text: str, response: Response, own: Response) -> str:
        """Return the text of a response with the client's id, otherwise as the backend wrote it."""
        return text if own is response else renamed(text, response.id, own.id)

    def sent_in(self, body: bytes) -> bool:
        """Return whether the body of a refusal may hold the id that the backend was sent instead of the client's."""
        return self._session is not None and self._sent is not None and self._session.tag.encode() in body

    def refused(self, body: bytes, max_depth: int = MAX_DEPTH) -> bytes:
        """Return the body of a refusal with the request's id, otherwise byte for byte; a deeper one unchanged."""
        if not self.sent_in(body) or self._sent is None or too_deep(body, max_depth):
            return body
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError:
            return body
        if not isinstance(message, dict) or message.get("id") != self._sent or self._call.id is None:
            return body
        return renamed(body.decode(), self._sent, self._call.id).encode()

    def event(self, event: ServerEvent) -> ServerEvent:
        """Return the event with an id that lets its client resume the stream; without an id where it cannot."""
        if not event.id:
            return event
        if self._session is not None:
            if not self._stream and self._call.id is not None:
                self._stream = self._session.stream(self._call.id)
            return event._replace(id=self._session.event(self._stream, event.id))
        # The response to `initialize` belongs to no session yet, but its client could resume after it.
        return event._replace(id=None) if self._call.method == "initialize" else event


def renamed(text: str, sent: RequestId, id_: RequestId) -> str:
    """Return a response with another id, otherwise unchanged.

    Args:
        text: a JSON object.
        sent: the id in it.
        id_: the client's.
    """
    wanted = orjson.dumps(id_).decode()
    found = _ID.finditer(text)
    first = None if "\\u00" in text and _DISGUISED.search(text) else next(found, None)
    if first is not None and next(found, None) is None and (first[1][1:-1] == sent or json.loads(first[1]) == sent):
        return f"{text[: first.start(1)]}{wanted}{text[first.end(1) :]}"
    # A tool may have repeated the id, or the server spelled it differently.
    members = [each for each in JsonText(text).members(past(BLANKS, text, 0)) if each.name.lower() == "id"]
    parts: list[str] = []
    done = 0
    for each in members:
        parts += (text[done : each.value], wanted)
        done = each.end
    return "".join((*parts, text[done:]))
