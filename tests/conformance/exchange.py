"""Send the same requests to two servers and record everything that each answers, to compare them.

Values that differ in every run (ids of sessions and tasks, times, sealed states) are replaced by their names.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.support.rig import ACCEPT, LEGACY, MODERN

Json = dict[str, Any]

OLDEST: Final = "2025-03-26"
"""Oldest revision, which has no `MCP-Protocol-Version` header."""

_META: Final = "io.modelcontextprotocol"
_NAMED_BY: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_VOLATILE: Final = frozenset({"taskId", "createdAt", "lastUpdatedAt", "requestState"})


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """One answer: the request that it answers, its status and media type, and its messages in order."""

    asked: str
    status: int
    media_type: str
    messages: list[Any]


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a stream.

    Attributes:
        fields: its type, id and retry time, as far as it has them.
        message: its message; None for an event without data.
    """

    fields: dict[str, str]
    message: Any = None


class EventStream:
    """An answer that is read event by event; lines end in LF or CRLF."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def event(self) -> StreamEvent | None:
        """Return the next event without comments; None when the stream has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(60):
            while line := await self.answer.content.readline():
                name, _, value = line.decode().rstrip("\r\n").partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                elif line.strip() == b"" and fields:
                    data = fields.pop("data", "")
                    return StreamEvent(fields, json.loads(data) if data else None)
        return None

    async def message(self) -> Any:
        """Return the next message; None when the stream has ended."""
        while (event := await self.event()) is not None:
            if event.message is not None:
                return event.message
        return None


@dataclass(slots=True)
class RecordingClient:
    """A client of one revision at one server, which records every answer.

    Attributes:
        answers: every answer, oldest first.
        session: id of the session that `initialize` has opened.
        first: number of the first event id that this client has received.
    """

    http: aiohttp.ClientSession
    url: str
    revision: str
    capabilities: Json = field(default_factory=dict)
    answers: list[RecordedAnswer] = field(default_factory=list)
    session: str | None = None
    ids: int = 0
    first: int | None = None

    async def request(self, method: str, headers: Mapping[str, str] | None = None, **params: Any) -> Json:
        """Send a request, read the whole answer, and return its last message."""
        message = self.message(method, params)
        async with self.http.post(self.url, json=message, headers=self.headers(message, headers)) as answer:
            if method == "initialize":
                self.session = answer.headers.get("Mcp-Session-Id")
            messages = await self._read_and_record(method, answer)
        return dict(messages[-1])

    async def call(self, tool: str, arguments: Json | None = None, **params: Any) -> Json:
        """Call a tool and return the result."""
        return dict((await self.request("tools/call", name=tool, arguments=arguments or {}, **params))["result"])

    async def notify(self, message: Json) -> None:
        """Send a message that has no answer: a notification or a response."""
        async with self.http.post(self.url, json=message, headers=self.headers(message)) as answer:
            await self._read_and_record(str(message.get("method", "response")), answer)

    async def send(self, what: str, verb: str, headers: Mapping[str, str], body: bytes | None = None) -> None:
        """Send any request and record only its status, because servers word their errors differently."""
        async with self.http.request(verb, self.url, data=body, headers=headers) as answer:
            await answer.read()
            self.answers.append(RecordedAnswer(what, answer.status, "", []))

    @asynccontextmanager
    async def stream(self, method: str | None = None, **params: Any) -> AsyncIterator[EventStream]:
        """Send a request, or GET without a method, and read the answer as it arrives; disconnect on exit."""
        if method is None:
            headers = {**self.headers({}), "Accept": "text/event-stream", **params.pop("headers", {})}
            asked = self.http.get(self.url, headers=headers)
        else:
            message = self.message(method, params)
            asked = self.http.post(self.url, json=message, headers=self.headers(message))
        async with asked as answer:
            try:
                yield EventStream(answer)
            finally:
                answer.close()

    def record(self, asked: str, stream: EventStream, *messages: Any) -> None:
        """Record the messages that were read from a stream."""
        answer = stream.answer
        self.answers.append(
            RecordedAnswer(asked, answer.status, answer.content_type, [without_volatile(each) for each in messages])
        )

    def message(self, method: str, params: Json) -> Json:
        """Return a request in the form of this revision."""
        self.ids += 1
        if self.revision == MODERN:
            meta = {f"{_META}/protocolVersion": MODERN, f"{_META}/clientCapabilities": self.capabilities}
            params = {**params, "_meta": {**meta, **params.get("_meta", {})}}
        return {"jsonrpc": "2.0", "id": self.ids, "method": method, "params": params}

    def headers(self, message: Json, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the headers that this revision requires for a message."""
        made = {"Accept": ACCEPT}
        method = message.get("method", "")
        if self.revision == MODERN or (self.revision != OLDEST and method != "initialize"):
            made["MCP-Protocol-Version"] = self.revision
        if self.session is not None:
            made["Mcp-Session-Id"] = self.session
        if self.revision == MODERN:
            made["Mcp-Method"] = method
            name = message.get("params", {}).get(_NAMED_BY.get(method, ""))
            if name is not None:
                made["Mcp-Name"] = name
        return {**made, **(more or {})}

    async def _read_and_record(self, asked: str, answer: aiohttp.ClientResponse) -> list[Any]:
        body = await answer.read()
        messages: list[Any]
        if answer.content_type == "text/event-stream":
            messages = self._events(body.decode(), asked)
        else:
            messages = [json.loads(body)] if body else []
        media_type = answer.content_type if body else ""
        self.answers.append(
            RecordedAnswer(asked, answer.status, media_type, [without_volatile(each) for each in messages])
        )
        return messages

    def _events(self, text: str, asked: str) -> list[Any]:
        """Return the messages of a stream, and the other fields of its events, without comments.

        The sidecar puts its mark before the server's event ids, and gives none to the stream of `initialize`, which
        belongs to no session yet.
        """
        found: list[Any] = []
        for event in text.replace("\r\n", "\n").split("\n\n"):
            fields = [line.partition(":") for line in event.splitlines() if line and not line.startswith(":")]
            others = {name: value.removeprefix(" ") for name, _, value in fields}
            data = others.pop("data", "")
            if asked == "initialize":
                others.pop("id", None)
            if "id" in others:  # numbers differ per server; count from the first one that this client has received
                number = int(others["id"].rpartition(".")[2])
                self.first = number if self.first is None else self.first
                others["id"] = f"first + {number - self.first}"
            if others:
                found.append(others)
            if data:
                found.append(json.loads(data))
        return found


def without_volatile(value: Any) -> Any:
    """Return a message with placeholders for the values that differ in every run."""
    if isinstance(value, list):
        return [without_volatile(each) for each in value]
    if not isinstance(value, dict):
        return value
    made: Json = {key: f"<{key}>" if key in _VOLATILE else without_volatile(each) for key, each in value.items()}
    if made.get("status") == "input_required":  # the keys of a task's questions are random
        made["inputRequests"] = list(made["inputRequests"].values())
    return made


async def until_status(client: RecordingClient, task: str, *wanted: str) -> Json:
    """Poll a task until it has one of these statuses; record only the last answer."""
    async with asyncio.timeout(30):
        while True:
            found: Json = (await client.request("tasks/get", taskId=task))["result"]
            if found["status"] in wanted:
                return found
            client.answers.pop()
            await asyncio.sleep(0.01)


def modern(http: aiohttp.ClientSession, url: str, **capabilities: Any) -> RecordingClient:
    """Return a client of 2026-07-28."""
    return RecordingClient(http, url, MODERN, capabilities)


async def opened(http: aiohttp.ClientSession, url: str, revision: str = LEGACY, **capabilities: Any) -> RecordingClient:
    """Return a client of an older revision that has opened a session."""
    client = RecordingClient(http, url, revision, capabilities)
    about = {"name": "recording-client", "version": "1"}
    await client.request("initialize", protocolVersion=revision, capabilities=capabilities, clientInfo=about)
    await client.notify({"jsonrpc": "2.0", "method": "notifications/initialized"})
    return client
