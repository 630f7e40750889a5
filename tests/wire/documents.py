"""Bodies that parsers may read differently: calls in every form that JSON allows, and in some that it does not.

What is made follows from the random source alone, so a seed names a body.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

from tests.support.rig import MODERN

TAME_NUMBERS: Final = (
    *("0", "-0", "1", "25", "200", "-1", "1.0", "1e2", "1E+2", "0.1", "1e-7", "123456789012345678901234567890"),
    *("9007199254740991", "9007199254740992", "9007199254740993", "-9007199254740993", "18446744073709551615"),
    *("18446744073709551616", "9223372036854775808", "0.30000000000000000001", "1e308", "5e-324", "1e-400"),
)
NUMBERS: Final = (
    *TAME_NUMBERS,
    *("1e309", "-1e400", "00", "01", "+1", "1.", ".5", "0x1", "1_0", "NaN", "Infinity", "-Infinity", "\u0661"),
)
TAME_TEXTS: Final = (
    *("", "a", "list_taxonomy", "reveal_contacts", "tools/call", "2.0", "true", "1", "__proto__", "constructor"),
    *(
        "\u00e9",
        "e\u0301",
        "\u200b",
        "\ufeff",
        "\0",
        "\x1f",
        "\x7f",
        "\u2028",
        "/",
        "\\",
        '"',
        "\U0001f600",
        "[[[",
        "{{{",
    ),
    *("\uffff", "\ufffd", "\\ud800", "line\nbreak"),
)
TEXTS: Final = (*TAME_TEXTS, "\u017f", "\u212a", "\uff41", "\ud800", "\udc00", "\udc00\ud800", "name\0")
TAME_KEYS: Final = ("query", "domain", "a", "b", "c", "n\u0430me", "0", "1", "note", "\u00e9", "\u65e5", "foo_bar")
KEYS: Final = (
    *TAME_KEYS,
    *("name", "Name", "NAME", "arguments", "Arguments", "argument\u017f", "method", "id", "params", "result", "error"),
    *("limit", "LIMIT", "contact_ids", "Contact_Ids", "confirm_spend_credits", "sure", "_meta", "task", "jsonrpc"),
    *("constructor", "__proto__", "name\0", "", "A", "\uff41", "inputResponses", "requestState", "cursor"),
)
TOOLS: Final = (
    *("list_taxonomy", "search_shopify_stores", "reveal_contacts"),
    *("get_shopify_store", "get_usage", "nothing"),
)
METHODS: Final = ("tools/call", "tools/list", "ping", "initialize", "notifications/progress", "Tools/Call", "unknown")
SNIPPETS: Final = (
    *(b",", b":", b"{", b"}", b"[", b"]", b'"', b"\\", b" ", b"\n", b"\0", b"//x\n", b"/**/", b"#\n", b"'", b",,"),
    *(b"\xef\xbb\xbf", b"\xff", b"\xc1\xae", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xc2\xa0", b"\x0b"),
    *(b"\\u0000", b"\\ud800", b"\\udc00\\ud800", b"\\ud83d\\ude00", b"\\u0061", b"\\x41", b"\xe2\x80\xa8", b"\x1e"),
    *(b'"name":"reveal_contacts",', b'"Name":"x",', b'"a":1,', b'"arguments":{"limit":1},', b'"id":2,', b"\t"),
    *(b'"jsonrpc":"2.0",', b"NaN", b"1e400", b"01", b"true", b"null", b"{}", b"[]", b"9007199254740993"),
    *(b"[" * 70, b'{"a":' * 70),
)


GOOD: Final[dict[str, dict[str, Any]]] = {
    "search_shopify_stores": {"limit": 5},
    "reveal_contacts": {"contact_ids": ["a", "b"], "confirm_spend_credits": True},
    "get_shopify_store": {"sure": True},
}


class Literal:
    """A number that is written as it stands."""

    def __init__(self, text: str) -> None:
        self.text = text


class Maker:
    """Makes calls and values; most are tame, so that they come all the way."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._tame = random.random() < 0.7

    def call(self) -> dict[str, Any]:
        """A call, mostly a good one."""
        random = self._random
        tool = random.choice(TOOLS)
        arguments = {self.key(): self.value(3) for _ in range(random.randrange(4))}
        if self._chance(0.7):
            arguments |= GOOD.get(tool, {})
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        if self._chance(0.4):
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        if not self._tame:
            self._spoil(message, params)
        return message

    def _spoil(self, message: dict[str, Any], params: dict[str, Any]) -> None:
        if self._chance(0.3):
            params[self.key()] = self.value(2)
        if self._chance(0.3):
            message["id"] = self.value(1)
        if self._chance(0.3):
            message["method"] = self._random.choice(METHODS)
        if self._chance(0.1):
            message["params"] = self.value(2)
        if self._chance(0.1):
            message[self.key()] = self.value(1)
        if self._chance(0.1):
            message.pop(self._random.choice(list(message)))

    def key(self) -> str:
        return self._random.choice(TAME_KEYS if self._tame else KEYS) if self._chance(0.8) else self.text()

    def text(self) -> str:
        if self._chance(0.7):
            return self._random.choice(TAME_TEXTS if self._tame else TEXTS)
        most = 0xD800 if self._tame else 0x11000
        return "".join(chr(self._random.randrange(32, most)) for _ in range(self._random.randrange(5)))

    def value(self, depth: int) -> Any:
        kind = self._random.randrange(8 if depth else 6)
        if kind < 2:
            return Literal(self._random.choice(TAME_NUMBERS if self._tame else NUMBERS))
        if kind < 4:
            return self.text()
        if kind < 6:
            return self._random.choice((True, False, None))
        size = range(self._random.randrange(4))
        if kind == 6:
            return [self.value(depth - 1) for _ in size]
        return {self.key(): self.value(depth - 1) for _ in size}

    def _chance(self, of: float) -> bool:
        return self._random.random() < of


def call(random: Random) -> bytes:
    """A call, written in any way."""
    return Writer(random).write(Maker(random).call())


class Writer:
    """Writes a document with the blanks, escapes and repetitions that a random source comes upon."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._odd = random.random() < 0.5  # half the documents have no oddities but those of their values

    def write(self, document: Any) -> bytes:
        return self._any(document).encode("utf-8", "surrogatepass")

    def _any(self, document: Any) -> str:
        if isinstance(document, dict):
            return self._object(document)
        if isinstance(document, list):
            return self._blank() + "[" + ",".join(map(self._any, document)) + self._blank() + "]" + self._blank()
        if isinstance(document, Literal):
            return self._blank() + document.text + self._blank()
        if isinstance(document, str):
            return self._blank() + self._text(document) + self._blank()
        return json.dumps(document)

    def _object(self, document: dict[str, Any]) -> str:
        members = list(document.items())
        if self._odd and members and self._random.random() < 0.05:
            members.insert(self._random.randrange(len(members) + 1), self._random.choice(members))
        if self._odd and self._random.random() < 0.2:
            self._random.shuffle(members)
        written = ",".join(
            f"{self._blank()}{self._text(key)}{self._blank()}:{self._any(item)}" for key, item in members
        )
        return self._blank() + "{" + written + "}" + self._blank()

    def _text(self, content: str) -> str:
        return '"' + "".join(map(self._letter, content)) + '"'

    def _letter(self, letter: str) -> str:
        if letter in '"\\' or letter < " ":
            return self._escaped(letter)
        if letter == "/" and self._odd and self._random.random() < 0.3:
            return "\\/"
        if "\ud800" <= letter <= "\udfff":
            return self._escaped(letter) if self._random.random() < 0.7 else letter
        return self._escaped(letter) if self._odd and self._random.random() < 0.1 else letter

    def _escaped(self, letter: str) -> str:
        short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\b": "\\b", "\f": "\\f", "\r": "\\r"}
        if letter in short and self._random.random() < 0.7:
            return short[letter]
        units = letter.encode("utf-16-be", "surrogatepass")
        codes = [f"\\u{int.from_bytes(units[at : at + 2]):04x}" for at in range(0, len(units), 2)]
        return "".join(code if self._random.random() < 0.7 else code[:2] + code[2:].upper() for code in codes)

    def _blank(self) -> str:
        return self._random.choice((" ", "\n", "\t", "\r", "  ")) if self._odd and self._random.random() < 0.1 else ""
