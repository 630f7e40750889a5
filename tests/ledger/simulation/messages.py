"""Messages to the store, and the ordered connections that carry them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sidecar.model import Application
from sidecar.outcome import Charge


class Fault(Enum):
    """Failure in place of a script's reply."""

    UNANSWERED = "unanswered"  # `resp.UnansweredError`
    NOSCRIPT = "NOSCRIPT"  # `resp.RejectedError`: nothing was run
    OOM = "OOM"  # the same, of a script that may not write when memory is short


@dataclass(frozen=True, slots=True)
class Command:
    """One script with its arguments."""

    account: str


@dataclass(frozen=True, slots=True)
class Admit(Command):
    application: Application


@dataclass(frozen=True, slots=True)
class Settle(Command):
    application: Application
    charges: Sequence[Charge] | None


@dataclass(frozen=True, slots=True)
class Release(Command):
    application: Application
    forwarded: bool


@dataclass(frozen=True, slots=True)
class Defer(Command):
    application: Application
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Follow(Command):
    resumed: str
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recall(Command):
    request: str
    costs: bool
    resumed: str


@dataclass(frozen=True, slots=True)
class Sweep(Command):
    pass


@dataclass(frozen=True, slots=True)
class Credits(Command):
    """`credits.lua`; `planned` takes what the plan includes first."""

    operation: str
    verb: str
    pool: str
    amount: int
    planned: bool


@dataclass(frozen=True, slots=True)
class Write(Command):
    """A record written directly: the plan, the status, the consent. None leaves it."""

    plan: str | None = None
    active: bool | None = None
    consent: bool | None = None


@dataclass(slots=True)
class Sent:
    """Command in flight, and the callback for its reply."""

    command: Command
    done: Callable[[Any], None]
    load: bool  # the script itself is sent before it


@dataclass(slots=True)
class Wire:
    """One connection: commands arrive in the order they were sent, answers come back in that order.

    Attributes:
        whole: whether anything still passes; its owner learns later that it does not.
        requests: on their way to the store. Of a broken connection these may still arrive.
        replies: on their way back.
        owed: sent and not answered, as its owner sees it.
        until: when what is left of a broken one is gone for good, in ms. No network keeps a packet for a lease.
    """

    name: str
    whole: bool = True
    requests: deque[Sent] = field(default_factory=deque)
    replies: deque[tuple[Sent, Any]] = field(default_factory=deque)
    owed: deque[Sent] = field(default_factory=deque)
    until: int = 0

    def send(self, sent: Sent) -> None:
        """Write a command, as `RespTransport.send`; it may not arrive."""
        self.owed.append(sent)
        if self.whole:
            self.requests.append(sent)

    def answer(self) -> None:
        """Give the next reply to the oldest pending command, as `RespTransport.data_received`."""
        sent, reply = self.replies.popleft()
        assert self.owed.popleft() is sent
        sent.done(reply)

    def tear(self, arriving: int, until: int) -> None:
        """Break the connection: no reply comes back, and only the first few commands may still arrive."""
        self.whole = False
        self.replies.clear()
        while len(self.requests) > arriving:
            self.requests.pop()
        self.until = until

    def lost(self) -> None:
        """Fail all pending commands in order, as `RespTransport.connection_lost`."""
        owed, self.owed = self.owed, deque()
        for sent in owed:
            sent.done(Fault.UNANSWERED)
