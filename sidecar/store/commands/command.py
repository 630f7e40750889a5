"""Scripts, the commands that run them, and the interface between the store and its scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import hiredis

from sidecar.bulk_strings import encode_words
from sidecar.model import AdmissionReply, Application
from sidecar.outcome import Charge, Receipt
from sidecar.store.connection.resp import Argument


@dataclass(frozen=True, slots=True)
class ServerFunction:
    """Function of the server that does the same as a script; the server keeps it ready.

    Attributes:
        name: its name on the server.
        library: source of the library that has it.
    """

    name: str
    library: str


@dataclass(frozen=True, slots=True)
class Script:
    """Lua script.

    Attributes:
        function: the function that commands call instead, where the server has it.
        sha: its name on the server.
        head: the first words of each command that runs it, encoded; of the function, if there is one.
        script_head: the same, always of the script.
    """

    name: str
    source: str
    function: ServerFunction | None = None
    sha: str = field(init=False)
    head: bytes = field(init=False, repr=False)
    script_head: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", sha)
        object.__setattr__(self, "script_head", encode_words("EVALSHA", sha).packed)
        called = self.script_head if self.function is None else encode_words("FCALL", self.function.name).packed
        object.__setattr__(self, "head", called)

    @property
    def loads(self) -> Sequence[tuple[str, ...]]:
        """Commands that load the script, and its function if there is one."""
        script = ("SCRIPT", "LOAD", self.source)
        return (script,) if self.function is None else (script, ("FUNCTION", "LOAD", self.function.library))

    def without_function(self, command: bytes) -> bytes:
        """Return an encoded command that runs this script as a script; any other is returned as it is."""
        start = command.index(b"\n") + 1  # after the number of words
        if self.function is None or not command.startswith(self.head, start):
            return command
        return command[:start] + self.script_head + command[start + len(self.head) :]


class Command:
    """Script with its KEYS and ARGV, encoded; it may be sent repeatedly.

    Attributes:
        script: the script.
        key: key that decides the server: all keys of a command are in one slot.
        packed: the whole command, as it is sent.
    """

    __slots__ = ("key", "packed", "script")

    def __init__(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> None:
        self.script = script
        self.key = keys[0] if keys else ""
        words = encode_words(len(keys), *keys, *arguments)
        self.packed = b"*%d\r\n%b%b" % (2 + words.count, script.head, words.packed)

    def words(self) -> tuple[bytes, ...]:
        """Return the words to send."""
        reader = hiredis.Reader()
        reader.feed(self.packed)  # a command has the form of a reply
        return tuple(reader.gets())

    @property
    def keys(self) -> tuple[str, ...]:
        """KEYS of the script."""
        words = self.words()
        return tuple(map(text, words[3 : 3 + int(words[2])]))

    @property
    def arguments(self) -> tuple[str, ...]:
        """ARGV of the script."""
        words = self.words()
        return tuple(map(text, words[3 + int(words[2]) :]))


class EncodedCommand(Command):
    """Command of a call, put together from words that were encoded before."""

    __slots__ = ()

    def __init__(self, script: Script, key: str, packed: bytes) -> None:
        self.script = script
        self.key = key
        self.packed = packed


class ChangeCode(IntEnum):
    """Reply of the scripts that change accounts, consents and balances; the Lua returns these numbers."""

    DONE = 0
    CREATED = 1
    UNKNOWN = 2  # no such account, and `create` was not set
    TOO_LITTLE = 3  # the balance is less than the amount to spend
    TOO_MUCH = 4  # the balance would exceed `MAX_AMOUNT`
    CONFLICT = 5  # the record has another version, or the operation id belongs to another change


class Scripts(Protocol):
    """Interface of the store to its scripts: encodes applications as commands, and decodes replies."""

    @property
    def scripts(self) -> Sequence[Script]:
        """Scripts to load on every new connection."""

    def admit(self, application: Application) -> Command:
        """Return the command that admits an application, or only examines it (`dry_run`)."""

    def admitted(self, application: Application, reply: Any) -> AdmissionReply:
        """Read the reply of `admit`."""

    def settle(self, application: Application, charges: Sequence[Charge] | None) -> Command:
        """Return the command that settles the hold of an admitted application."""

    def release(self, application: Application, *, forwarded: bool = False) -> Command:
        """Return the command that releases the hold of an application, and rejects its late admission."""

    def defer(self, application: Application, context: bytes, events: Sequence[str] = ()) -> Command:
        """Return the command that keeps the hold of an application open for a response on another stream."""

    def receipt(self, reply: Any) -> Receipt:
        """Read the reply of a settle or release."""


def text(word: Any) -> str:
    """Return a word of a reply as text; some clients decode replies themselves.

    Invalid UTF-8, written by other programs, is replaced, and so equals no name of a policy.
    """
    return str(word, "utf-8", "replace") if type(word) is bytes else str(word)
