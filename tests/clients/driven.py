"""A TypeScript client that a test drives step by step: see `drivers/driver.mjs`."""

from __future__ import annotations

import asyncio
import base64
import json
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from subprocess import PIPE
from typing import Any

from tests.clients.support import HERE
from tests.support.node import started
from tests.support.rig import MODERN, REFUSAL

Json = dict[str, Any]


class ClientError(Exception):
    """Error of the SDK: its class, its code (an HTTP status or a JSON-RPC number) and message."""

    def __init__(self, name: str, code: Any, message: str) -> None:
        super().__init__(f"{name} {code}: {message}")
        self.name = name
        self.code = code


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer as it came from the network; a stream has no body here."""

    asked: str
    status: int
    media: str | None
    body: bytes | None


@dataclass(slots=True)
class Driven:
    """A client in a process of its own."""

    process: Process

    async def do(self, command: str, **options: Any) -> Any:
        """Let it do one thing.

        Raises:
            ClientError: what the SDK raised.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"command": command, **options}).encode() + b"\n")
        line = await self.process.stdout.readline()
        assert line, await self.process.stderr.read() if self.process.stderr else ""
        answer = json.loads(line)
        if "failed" in answer:
            raise ClientError(**answer["failed"])
        return answer["done"]

    async def connect(self) -> None:
        await self.do("connect")

    async def tools(self) -> set[str]:
        return set(await self.do("tools"))

    async def call(self, name: str, arguments: Json | None = None) -> Json:
        """Call a tool; its result."""
        return dict(await self.do("call", name=name, arguments=arguments or {}))

    async def logins(self) -> list[set[str]]:
        """The scopes that each login so far asked for."""
        return [set((asked or "").split()) for asked in (await self.do("look"))["logins"]]

    async def questions(self) -> list[Json]:
        """The questions that its user was asked since this was last asked."""
        return list(await self.do("questions"))

    async def answers(self) -> list[Seen]:
        """The answers since this was last asked."""
        answers = (await self.do("look"))["answers"]
        return [Seen(**{**one, "body": one["body"] and base64.b64decode(one["body"])}) for one in answers]

    async def seen(self, asked: str) -> Seen:
        """Wait for the answer to a method, or to a GET or DELETE."""
        async with asyncio.timeout(60):
            while True:
                for answer in await self.answers():
                    if answer.asked == asked:
                        return answer
                await asyncio.sleep(0.01)


DRIVERS = {"v1": ("v1.mjs", "legacy"), "v2-legacy": ("v2.mjs", "legacy"), "v2-modern": ("v2.mjs", MODERN)}
"""The script and the mode of each kind of client."""


@asynccontextmanager
async def driven(
    kind: str,
    url: str,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    mode: str | None = None,
    browser: str | None = None,
    elicits: Json | None = None,
) -> AsyncIterator[Driven]:
    """A client that has not connected yet.

    Args:
        kind: one of `DRIVERS`.
        url: where it connects to.
        token: sent with every request; without one it signs in where the challenge says.
        headers: sent with every request.
        mode: another mode than the kind's own.
        browser: signs in there (`person.Person.url`) instead of where the challenge says itself.
        elicits: its `capability` to ask its user, and the `action` with which that one answers.
    """
    script, usual = DRIVERS[kind]
    wanted = {"url": url, "headers": dict(headers or {}), "mode": mode or usual}
    if token is not None:
        wanted["token"] = token
    if browser is not None:
        wanted["browser"] = browser
    if elicits is not None:
        wanted["elicits"] = elicits
    async with started(HERE / "drivers" / script, json.dumps(wanted), stdin=PIPE) as process:
        yield Driven(process)


def text_of(result: Json) -> str:
    """The one text of a tool's result."""
    [content] = result["content"]
    return str(content["text"])


def code_of(result: Json) -> str:
    """Code of the sidecar's refusal."""
    assert result["isError"]
    return str(result["_meta"][REFUSAL]["code"])
