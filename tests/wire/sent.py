"""Requests to the public listener: calls as text, of which any part can be invalid JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.support.rig import ACCEPT, LEGACY, MODERN

BOTH: Final = (MODERN, LEGACY)
OLDER: Final = (LEGACY, "2025-06-18", "2025-03-26")
EVERY: Final = (MODERN, *OLDER)

CANARY: Final = "canary"
"""In a header of every request: neither an answer, nor the log, nor the backend may have it."""
SECRET: Final = "sparrow"
"""In arguments: neither an answer nor the log may have it."""

Fields = Sequence[tuple[str, str]]
Changes = Mapping[str, str | Sequence[str]]
"""Headers in place of the usual ones: a value, or several, or none."""


def meta(revision: str, more: str = "") -> str:
    """The `_meta` that a request of this revision ends its parameters with, as text; `more` are further members."""
    if revision == MODERN:
        required = (
            f'"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}}'
        )
        return f',"_meta":{{{required}{"," + more if more else ""}}}'
    return f',"_meta":{{{more}}}' if more else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """The text of a call, member by member, so that any of them can be what no writer of JSON would write.

    Attributes:
        params: members of `params`, without braces; `_meta` follows them.
        in_meta: further members of `_meta`.
        id: the id with its name.
        method: the method with its name.
        more: members behind `params`, with the comma before them.
        whole: the whole document instead, with `<meta>` where `_meta` goes.
        encoding: lone surrogates stand for bytes that are no UTF-8 (`surrogateescape`).
        mirrors: what `Mcp-Method` and `Mcp-Name` say in 2026-07-28.
    """

    params: str = '"name":"list_taxonomy","arguments":{}'
    in_meta: str = ""
    id: str = '"id":1,'
    method: str = '"method":"tools/call",'
    more: str = ""
    whole: str | None = None
    encoding: str = "utf-8"
    mirrors: tuple[str, str | None] = ("tools/call", "list_taxonomy")

    def text(self, revision: str) -> str:
        tail = meta(revision, self.in_meta)
        if self.whole is not None:
            return self.whole.replace("<meta>", tail)
        return f'{{"jsonrpc":"2.0",{self.id}{self.method}"params":{{{self.params}{tail}}}{self.more}}}'

    def body(self, revision: str) -> bytes:
        return self.text(revision).encode(self.encoding, "surrogateescape")


def call(name: str = "list_taxonomy", arguments: str = "{}", **members: Any) -> Message:
    """A call of a tool with arguments as text; `Mcp-Name` agrees unless `mirrors` says otherwise."""
    return Message(
        **{"params": f'"name":"{name}","arguments":{arguments}', "mirrors": ("tools/call", mirror(name)), **members}
    )


def mirror(value: str) -> str:
    """A value as 2026-07-28 writes it in a header: as it is, or in base64."""
    if value and value.isascii() and value.isprintable() and value == value.strip():
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def whole(text: str, **members: Any) -> Message:
    """A whole document as text."""
    return Message(whole=text, **members)


def named(members: str, **rest: Any) -> Message:
    """A call whose `params` begin with these members."""
    return Message(params=members, **rest)


def noted(more: str, **rest: Any) -> Message:
    """A call with an argument that the policy does not name, and these members of `arguments` behind it."""
    return call(arguments=f'{{"note":"{SECRET}",{more}}}', **rest)


GOOD: Final = call()
"""The good call that the cases vary."""
GOOD_TEXT: Final = (
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_taxonomy","arguments":{}<meta>}}'
)
"""The same, to be put into other texts."""


def usual(host: str, token: str, revision: str, message: Message = GOOD) -> list[tuple[str, str]]:
    """The headers of a POST of this message, with an unexpected one."""
    fields = [
        ("Host", host),
        ("Authorization", f"Bearer {token}"),
        ("Accept", ACCEPT),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", revision),
        ("X-Note", CANARY),
        ("Content-Length", str(len(message.body(revision)))),
        ("Connection", "close"),
    ]
    if revision == MODERN:
        mirrored = zip(("Mcp-Method", "Mcp-Name"), message.mirrors, strict=True)
        fields += [(name, value) for name, value in mirrored if value is not None]
    return fields


def changed(fields: Fields, changes: Changes) -> list[tuple[str, str]]:
    """The headers without those named in `changes`, then what `changes` puts in their place."""
    dropped = {name.lower() for name in changes}
    made = [(name, value) for name, value in fields if name.lower() not in dropped]
    for name, values in changes.items():
        made += [(name, value) for value in ([values] if isinstance(values, str) else values)]
    return made


def request(fields: Fields, body: bytes, first: str = "POST /mcp HTTP/1.1") -> bytes:
    """A request as it stands on the wire."""
    lines = [first, *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
