"""A script, a command that runs it, how a word of its answer reads, and which of them the store wants."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sidecar.ledger.connection import Argument
from sidecar.model import Admission, Application
from sidecar.outcome import Charge, Receipt


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script; `sha` is what the server calls it."""

    name: str
    source: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Command:
    """One script with its KEYS and ARGV, as often given as needed."""

    script: Script
    keys: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()

    def words(self) -> tuple[Argument, ...]:
        """The command as it is sent."""
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.arguments)


class Scripts(Protocol):
    """What the store needs of the scripts: commands out of the model's words, and replies into them."""

    @property
    def scripts(self) -> Sequence[Script]:
        """All of them, to be loaded on every new connection."""

    def admit(self, application: Application) -> Command:
        """The admission (or the look) that an application asks for."""

    def admitted(self, application: Application, reply: Any) -> Admission:
        """What the script answered."""

    def settle(self, application: Application, charges: Sequence[Charge] | None) -> Command:
        """Settle the hold of an admitted application."""

    def release(self, application: Application, *, forwarded: bool = False) -> Command:
        """Release the hold of an application, or see that none is made any more."""

    def defer(self, application: Application, context: bytes, events: Sequence[str] = ()) -> Command:
        """Keep the hold of an admitted application open for a response on another stream."""

    def receipt(self, reply: Any) -> Receipt:
        """What a settle or a release answered."""


def text(word: bytes | str) -> str:
    """A word of an answer; whoever asked may have had it decoded.

    Other programs may have stored what is no UTF-8: it equals no name of a policy.
    """
    return word.decode(errors="replace") if isinstance(word, bytes) else word
