"""How the story is told: each request, its answer, the backend's own count, and whether it came out as told."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from mcp import Client

from sidecar.demo.answers import Answer, read_result
from sidecar.demo.client import Memory, Wire, connect
from sidecar.demo.stage import Money, Stage
from sidecar.errors import ErrorCode

ACCOUNT: Final = "ada"
"""Whose account the story is about."""
_WIDTH: Final = 240
_INDENT: Final = "      "


class NotAsToldError(Exception):
    """A step came out in another way than the story says."""


def expect(holds: object, told: str) -> None:
    """Go on only if something holds.

    Raises:
        NotAsToldError: it does not.
    """
    if not holds:
        raise NotAsToldError(told)


@dataclass(slots=True)
class Story:
    """What the steps share.

    Attributes:
        memory: the client that the story follows.
        secrets: tokens that were used, none of which may be found in log or metrics.
        codes: refusals that were shown.
        scrapes: the metrics of sidecars that have ended since.
        by_lease: credits that were spent by the end of a lease.
    """

    stage: Stage
    memory: Memory = field(default_factory=Memory)
    secrets: set[str] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)
    scrapes: list[str] = field(default_factory=list)
    by_lease: int = 0
    _calls: int = 0
    _approvals: int = 0

    # --- saying --------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Lines below a step's head."""
        for line in text.splitlines():
            print(f"{_INDENT}{line}")

    def show(self, wire: Wire) -> None:
        """A request, and its answer in one line."""
        self.say(f"> {_short(wire.request)}")
        self.say(f"< {_short(str(wire.answer))}")
        if wire.answer.challenge is not None:
            self.say(f"  WWW-Authenticate: {wire.answer.challenge}")

    async def command(self, *words: str) -> None:
        """A command of the operator, as it is typed, and what it prints.

        Raises:
            NotAsToldError: it failed.
        """
        self.say(f"$ mcp-sidecar {' '.join(words)}")
        status, said = await self.stage.operate(*words)
        self.say(textwrap.indent(said, "  "))
        expect(status == 0, f"the command ends with 0, not {status}")

    async def money(self) -> Money:
        """Say where the account's credits are.

        Raises:
            NotAsToldError: some are missing, or too many.
        """
        money = await self.stage.money(ACCOUNT)
        self.say(str(money))
        expect(money.balanced, "credits + held + spent == granted")
        return money

    # --- doing ---------------------------------------------------------------------------------

    async def count(self, more: int) -> None:
        """Say how many tool calls the backend has received by its own count.

        Raises:
            NotAsToldError: it is not `more` than when it was last counted.
        """
        came = await self._came()
        expect(came == more, f"{more} more tool calls at the backend, not {came}")

    async def _came(self) -> int:
        before, self._calls = self._calls, (await self.stage.received())["tool_calls"]
        came = self._calls - before
        calls = f"{self._calls} tool call{'' if self._calls == 1 else 's'}"
        self.say(f"backend has received {calls} ({f'+{came}' if came else 'unchanged'})")
        return came

    async def told(
        self, wire: Wire, code: ErrorCode | None = None, *, status: int | None = None, calls: int = 0
    ) -> Answer:
        """Show an exchange and the backend's count.

        Args:
            wire: what was sent and answered.
            code: the refusal it should be; None for a good answer.
            status: its HTTP status, where it is not the one of the refusal's row.
            calls: how many calls should have reached the backend.

        Raises:
            NotAsToldError: it is another answer, or another count.
        """
        self.show(wire)
        wanted = status or (200 if code is None else code.row.status)
        name = "a good answer" if code is None else code.id
        if code is not None:
            self.codes.add(code.id)
        came = await self._came()
        right = wire.answer.shows(code, wanted) and came == calls
        expect(right, f"{wanted} {name}, and {calls} more tool calls at the backend")
        return wire.answer

    @asynccontextmanager
    async def client(self, mode: str = "auto") -> AsyncIterator[Client]:
        """The official client, as the person's and with what it remembers."""
        self.memory.wires.clear()
        async with connect(self.stage.url, mode=mode, memory=self.memory) as client:
            yield client
        if self.memory.tokens is not None:
            self.secrets |= {self.memory.tokens.access_token, self.memory.tokens.refresh_token or ""} - {""}

    async def play(
        self,
        client: Client,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        code: ErrorCode | None = None,
        calls: int | None = None,
    ) -> Answer:
        """Call a tool through the official client, and show all that it sent for it."""
        start = len(self.memory.wires)
        result = await client.call_tool(tool, dict(arguments or {}))
        sent = self.memory.wires[start:]
        # What comes after the call itself is the client fetching the schema that the result has to fit.
        last = max(index for index, wire in enumerate(sent) if "tools/call" in wire.request)
        self.steps_of(sent[:last])
        wire = Wire(sent[last].request, read_result(result))
        return await self.told(wire, code, calls=(0 if code else 1) if calls is None else calls)

    def steps_of(self, wires: Sequence[Wire]) -> None:
        """What a client sent on its way, a line for each; and the consents that its approvals became."""
        for wire in wires:
            self.say(f"> {_short(wire.request)} -> {wire.answer.status} {wire.answer.code or ''}".rstrip())
        approvals = [line for line in self.stage.issuer.lines() if not line.startswith("demo issuer")]
        for line in approvals[self._approvals :]:
            self.say(f"{'' if line.startswith('$') else '  '}{line}{'   (by the issuer)' * line.startswith('$')}")
        self._approvals = len(approvals)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the story.

    Attributes:
        title: what it is about.
        told: what should come of it.
        play: plays it; raises `NotAsToldError` when something else comes of it.
    """

    title: str
    told: str
    play: Callable[[Story], Awaitable[None]]


async def tell(story: Story, number: int, step: Step) -> bool:
    """Tell one step; gives whether it came out as told."""
    print(f"\n{number:3}  {step.title}")
    for line in textwrap.wrap(step.told, 100):
        print(f"     {line}")
    try:
        await step.play(story)
    except Exception as error:  # noqa: BLE001 - whatever breaks a step is a finding, and the end of the story
        story.say(f"NOT AS TOLD: {why(error)}")
        return False
    story.say("ok")
    return True


def why(error: BaseException) -> str:
    """The first real reason: what goes wrong inside the MCP client comes in exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, NotAsToldError) else f"{type(error).__name__}: {error}"


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 4]} ..."
