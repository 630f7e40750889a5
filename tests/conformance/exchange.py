"""The same words to two servers, and all that each of them says: for telling whether one is the other.

What is different by its nature - the ids of sessions and tasks, times, sealed states - is replaced by
a word that says what it was.
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
"""The revision without a header for the version."""

_META: Final = "io.modelcontextprotocol"
_NAMED_BY: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_OWN: Final = frozenset({"taskId", "createdAt", "lastUpdatedAt", "requestState"})


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer: what was asked, its status and media type, and its messages in their order."""

    asked: str
    status: int
    media_type: str
    messages: list[Any]


@dataclass(frozen=True, slots=True)
class Said:
    """One event of a stream.

    Attributes:
        fields: its type, id and retry time, as far as it has them.
        message: its message; None for an event without data.
    """

    fields: dict[str, str]
    message: Any = None


class Ear:
    """An answer that arrives event by event, whatever its lines end in."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def event(self) -> Said | None:
        """The next event, with comments left out; None when the stream has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(20):
            while line := await self.answer.content.readline():
                name, _, value = line.decode().rstrip("\r\n").partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                elif line.strip() == b"" and fields:
                    data = fields.pop("data", "")
                    return Said(fields, json.loads(data) if data else None)
        return None

    async def message(self) -> Any:
        """The next message; None when the stream has ended."""
        while (said := await self.event()) is not None:
            if said.message is not None:
                return said.message
        return None


@dataclass(slots=True)
class Talk:
    """A client of one revision at one server.

    Attributes:
        heard: everything that was said, oldest first.
        session: the session that `initialize` has opened.
    """

    http: aiohttp.ClientSession
    url: str
    revision: str
    capabilities: Json = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    session: str | None = None
    ids: int = 0
    first: int | None = None

    async def ask(self, method: str, headers: Mapping[str, str] | None = None, **params: Any) -> Json:
        """Send a request and read the answer whole; its last message."""
        message = self.message(method, params)
        async with self.http.post(self.url, json=message, headers=self.headers(message, headers)) as answer:
            if method == "initialize":
                self.session = answer.headers.get("Mcp-Session-Id")
            messages = await self._hear(method, answer)
        return dict(messages[-1])

    async def call(self, tool: str, arguments: Json | None = None, **params: Any) -> Json:
        """Call a tool; the result."""
        return dict((await self.ask("tools/call", name=tool, arguments=arguments or {}, **params))["result"])

    async def tell(self, message: Json) -> None:
        """Send what has no answer: a notification, or a response."""
        async with self.http.post(self.url, json=message, headers=self.headers(message)) as answer:
            await self._hear(str(message.get("method", "response")), answer)

    async def send(self, what: str, verb: str, headers: Mapping[str, str], body: bytes | None = None) -> None:
        """Send anything; only its status is kept, for texts are everybody's own."""
        async with self.http.request(verb, self.url, data=body, headers=headers) as answer:
            await answer.read()
            self.heard.append(Heard(what, answer.status, "", []))

    @asynccontextmanager
    async def stream(self, method: str | None = None, **params: Any) -> AsyncIterator[Ear]:
        """Send a request, or without one GET, and read the answer as it arrives; leaving disconnects."""
        if method is None:
            headers = {**self.headers({}), "Accept": "text/event-stream", **params.pop("headers", {})}
            asked = self.http.get(self.url, headers=headers)
        else:
            message = self.message(method, params)
            asked = self.http.post(self.url, json=message, headers=self.headers(message))
        async with asked as answer:
            try:
                yield Ear(answer)
            finally:
                answer.close()

    def note(self, asked: str, stream: Ear, *messages: Any) -> None:
        """Remember what came on a stream."""
        answer = stream.answer
        self.heard.append(Heard(asked, answer.status, answer.content_type, [plain(each) for each in messages]))

    def message(self, method: str, params: Json) -> Json:
        """A request as this revision has it."""
        self.ids += 1
        if self.revision == MODERN:
            meta = {f"{_META}/protocolVersion": MODERN, f"{_META}/clientCapabilities": self.capabilities}
            params = {**params, "_meta": {**meta, **params.get("_meta", {})}}
        return {"jsonrpc": "2.0", "id": self.ids, "method": method, "params": params}

    def headers(self, message: Json, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The headers of this revision."""
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

    async def _hear(self, asked: str, answer: aiohttp.ClientResponse) -> list[Any]:
        body = await answer.read()
        messages: list[Any]
        if answer.content_type == "text/event-stream":
            messages = self._events(body.decode())
        else:
            messages = [json.loads(body)] if body else []
        media_type = answer.content_type if body else ""
        self.heard.append(Heard(asked, answer.status, media_type, [plain(each) for each in messages]))
        return messages

    def _events(self, text: str) -> list[Any]:
        """The messages of a stream, and what else an event says of itself, with comments left out."""
        found: list[Any] = []
        for event in text.replace("\r\n", "\n").split("\n\n"):
            fields = [line.partition(":") for line in event.splitlines() if line and not line.startswith(":")]
            said = {name: value.removeprefix(" ") for name, _, value in fields}
            data = said.pop("data", "")
            if "id" in said:  # counted from the first one that this client has heard
                number = int(said["id"])
                self.first = number if self.first is None else self.first
                said["id"] = f"first + {number - self.first}"
            if said:
                found.append(said)
            if data:
                found.append(json.loads(data))
        return found


def plain(value: Any) -> Any:
    """A message without what is different each time."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    made: Json = {key: f"<{key}>" if key in _OWN else plain(each) for key, each in value.items()}
    if made.get("status") == "input_required":  # a task's questions have made-up names
        made["inputRequests"] = list(made["inputRequests"].values())
    return made


async def until_status(talk: Talk, task: str, *wanted: str) -> Json:
    """Ask for a task until it has one of these statuses; only the last answer is kept."""
    async with asyncio.timeout(30):
        while True:
            found: Json = (await talk.ask("tasks/get", taskId=task))["result"]
            if found["status"] in wanted:
                return found
            talk.heard.pop()
            await asyncio.sleep(0.01)


def modern(http: aiohttp.ClientSession, url: str, **capabilities: Any) -> Talk:
    """A client of 2026-07-28."""
    return Talk(http, url, MODERN, capabilities)


async def opened(http: aiohttp.ClientSession, url: str, revision: str = LEGACY, **capabilities: Any) -> Talk:
    """A client of an older revision with a session."""
    talk = Talk(http, url, revision, capabilities)
    about = {"name": "talk", "version": "1"}
    await talk.ask("initialize", protocolVersion=revision, capabilities=capabilities, clientInfo=about)
    await talk.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
    return talk
