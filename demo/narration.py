"""Print and check the story: each request, its answer, the backend's own count, and the expected outcome."""

from __future__ import annotations

import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from mcp import Client

from demo.answers import Answer, read_result
from demo.client import Memory, Wire, connect
from demo.stage import Money, Stage
from sidecar.errors import ErrorCode, Gate
from sidecar.observe.formats.palette import Palette, Style

ACCOUNT: Final = "ada"
"""Account that the story is about."""
_WIDTH: Final = 240
_INDENT: Final = "      "
_MARK: Final = 72  # column of the mark


class UnexpectedOutcomeError(Exception):
    """A step had another outcome than expected."""


def expect(holds: object, claim: str) -> None:
    """Continue only if a condition holds.

    Raises:
        UnexpectedOutcomeError: it does not hold.
    """
    if not holds:
        raise UnexpectedOutcomeError(claim)


@dataclass(slots=True)
class Story:
    """State that the steps share.

    Attributes:
        memory: the client that the story follows.
        verbose: print every request; otherwise only those of a step that fails.
        secrets: tokens that were used; none may appear in log or metrics.
        codes: refusals that were shown, with their HTTP status.
        scrapes: metrics of sidecars that have ended.
        by_lease: credits spent when a lease ended.
        details: lines of the current step.
        palette: colours of the output.
    """

    stage: Stage
    memory: Memory = field(default_factory=Memory)
    verbose: bool = False
    secrets: set[str] = field(default_factory=set)
    codes: dict[ErrorCode, int] = field(default_factory=dict)
    scrapes: list[str] = field(default_factory=list)
    by_lease: int = 0
    details: list[str] = field(default_factory=list)
    palette: Palette = field(default_factory=lambda: Palette(False))
    _calls: int = 0
    _approvals: int = 0

    # --- output --------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Print lines below a step's title, or keep them for its failure."""
        for line in text.splitlines():
            self.details.append(f"{_INDENT}{line}")
            if self.verbose:
                print(self.details[-1])

    def show(self, wire: Wire) -> None:
        """Print a request, and its answer in one line."""
        self.say(f"> {_short(wire.request)}")
        self.say(f"< {_short(str(wire.answer))}")
        if wire.answer.challenge is not None:
            self.say(f"  WWW-Authenticate: {wire.answer.challenge}")

    async def command(self, *words: str) -> None:
        """Run an operator's command, and print it with its output.

        Raises:
            UnexpectedOutcomeError: it failed.
        """
        self.say(f"$ mcp-sidecar {' '.join(words)}")
        status, said = await self.stage.operate(*words)
        self.say(textwrap.indent(said, "  "))
        expect(status == 0, f"the command exits with 0, not {status}")

    async def money(self) -> Money:
        """Print the account's credits.

        Raises:
            UnexpectedOutcomeError: the sum is wrong.
        """
        money = await self.stage.money(ACCOUNT)
        self.say(str(money))
        expect(money.balanced, "credits + held + spent == granted")
        return money

    # --- actions -------------------------------------------------------------------------------

    async def count(self, more: int) -> None:
        """Print how many tool calls the backend has received by its own count.

        Raises:
            UnexpectedOutcomeError: it received another number than `more` since the last count.
        """
        came = await self._came()
        expect(came == more, f"{more} more tool calls at the backend, not {came}")

    async def _came(self) -> int:
        before, self._calls = self._calls, (await self.stage.received())["tool_calls"]
        came = self._calls - before
        calls = f"{self._calls} tool call{'' if self._calls == 1 else 's'}"
        self.say(f"backend has received {calls} ({f'+{came}' if came else 'unchanged'})")
        return came

    async def check(
        self, wire: Wire, code: ErrorCode | None = None, *, status: int | None = None, calls: int = 0
    ) -> Answer:
        """Print an exchange and the backend's count, and check both.

        Args:
            wire: the request and its answer.
            code: the expected refusal; None for a good answer.
            status: the expected HTTP status, if it is not that of the refusal's row.
            calls: the expected number of calls at the backend.

        Raises:
            UnexpectedOutcomeError: the answer or the count is another one.
        """
        self.show(wire)
        wanted = status or (200 if code is None else code.row.status)
        name = "a good answer" if code is None else code.id
        if code is not None:
            self.codes[code] = wanted
        came = await self._came()
        right = wire.answer.shows(code, wanted) and came == calls
        expect(right, f"expected {wanted} {name}, and {calls} more tool calls at the backend")
        return wire.answer

    @asynccontextmanager
    async def client(self, mode: str = "auto") -> AsyncIterator[Client]:
        """Connect the official client, with the person's stored tokens."""
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
        """Call a tool through the official client, and print all requests that it sends."""
        start = len(self.memory.wires)
        result = await client.call_tool(tool, dict(arguments or {}))
        sent = self.memory.wires[start:]
        # Requests after the call itself fetch the schema against which the client checks the result.
        last = max(index for index, wire in enumerate(sent) if "tools/call" in wire.request)
        self.steps_of(sent[:last])
        wire = Wire(sent[last].request, read_result(result))
        return await self.check(wire, code, calls=(0 if code else 1) if calls is None else calls)

    def steps_of(self, wires: Sequence[Wire]) -> None:
        """Print a client's earlier requests, one line each, and the consents from its approvals."""
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
        title: its subject.
        expected: its outcome.
        play: runs it; raises `UnexpectedOutcomeError` for another outcome.
    """

    title: str
    expected: str
    play: Callable[[Story], Awaitable[None]]


async def run_step(story: Story, number: int, count: int, step: Step) -> bool:
    """Run one step; return whether its outcome was as expected."""
    head = f"{number:3}/{count}  {step.title} "
    began, story.details = time.monotonic(), []
    if story.verbose:
        print(f"\n{story.palette.paint(head.rstrip(), Style.TITLE)}")
        for line in textwrap.wrap(step.expected, 100):
            print(f"{_INDENT}{line}")
    else:
        print(head.ljust(_MARK, "."), end=" ", flush=True)
    failure = None
    try:
        await step.play(story)
    except Exception as error:  # noqa: BLE001 - any failure of a step is a finding, and the end of the story
        failure = why(error)
    took = f"({time.monotonic() - began:.1f} s)"
    palette = story.palette
    mark = palette.paint("ok", Style.GOOD) if failure is None else palette.paint("FAILED", Style.BAD)
    print(f"{_INDENT}{mark} {took}" if story.verbose else f"{mark} {took}")
    if failure is None:
        return True
    if not story.verbose:
        print("\n".join(story.details))
    print(f"{_INDENT}{palette.paint('UNEXPECTED:', Style.BAD)} {failure}")
    return False


def table(story: Story, counted: Mapping[str, int], money: Money) -> list[str]:
    """Return the refusals of the story by gate, and its sums.

    Args:
        story: the story at its end.
        counted: the backend's own counts.
        money: credits of its account.
    """
    lines = [f"{'gate':<12}{'refusals':>8}   codes, with their HTTP status"]
    for gate in Gate:
        shown = [f"{code.id} {status}" for code, status in story.codes.items() if code.row.gate is gate]
        wrapped = textwrap.wrap(", ".join(shown), 96)
        for index, text in enumerate(wrapped):
            head = f"{gate.value:<12}{len(shown):>8}" if index == 0 else ""
            lines.append(f"{head:<20}   {text}")
    lines.append(f"{'in all':<12}{len(story.codes):>8}   the server got {counted['tool_calls']} tool calls")
    return [*lines, f"{'account':<20}   {money}"]


def why(error: BaseException) -> str:
    """Return the first cause: errors inside the MCP client come in exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, UnexpectedOutcomeError) else f"{type(error).__name__}: {error}"


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 4]} ..."
