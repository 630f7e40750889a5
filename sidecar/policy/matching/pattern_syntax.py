"""Syntax trees of regular expressions, as far as the number of their threads depends on it.

Letters are sets of sample characters, one bit each. Where a class is not understood it is taken for all characters,
so that repeats are rather taken for overlapping ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

_SAMPLE: Final = "".join(map(chr, range(128))) + "\xa0\xe9\xc9\u0301\u0663\u4e2d\u200d\U0001f600"
ALL: Final = (1 << len(_SAMPLE)) - 1
_FOREIGN: Final = ALL >> 128 << 128
_COUNTED: Final = re.compile(r"\{(\d+)(,(\d*))?\}", re.ASCII)
_CODE: Final = re.compile(r"x\{([0-9a-fA-F]+)\}|x([0-9a-fA-F]{2})|[uU]\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})")
_PROPERTY: Final = re.compile(r"[pP](?:\{(\^?)([^}]*)\}|(.))")
_GROUP: Final = re.compile(r"\?(?:P?<[A-Za-z_][^>]*>|([a-zA-Z]*)(-[a-zA-Z]+)?(:|\)))")
_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a"}


def _set(matches: Callable[[str], bool]) -> int:
    return sum(1 << place for place, letter in enumerate(_SAMPLE) if matches(letter))


_CLASSES: Final = {
    "d": _set(str.isdecimal),
    "s": _set(str.isspace),
    "w": _set(lambda letter: letter.isalnum() or letter in "_\u0301\u200d"),
}
_PROPERTIES: Final = {
    **dict.fromkeys(("L", "Letter", "Alphabetic"), _set(str.isalpha)),
    **dict.fromkeys(("N", "Nd", "Number"), _set(str.isnumeric)),
    **dict.fromkeys(("Lu", "Uppercase"), _set(str.isupper)),
    **dict.fromkeys(("Ll", "Lowercase"), _set(str.islower)),
}
_NO_LINE: Final = ALL & ~_set(lambda letter: letter == "\n")


class UnreadablePatternError(ValueError):
    """A pattern has a construct that is not read here."""


class Letters(NamedTuple):
    """One character of a set."""

    mask: int


class Start(NamedTuple):
    """Start of the text."""


class Sequence(NamedTuple):
    """Parts one after the other."""

    parts: tuple[Node, ...]


class Choice(NamedTuple):
    """One of several parts."""

    parts: tuple[Node, ...]


class Repeat(NamedTuple):
    """A part from `least` to `most` times; None is without end."""

    part: Node
    least: int
    most: int | None


Node = Letters | Start | Sequence | Choice | Repeat
EMPTY: Final = Sequence(())


def tree_of(pattern: str) -> Node:
    """Read a pattern that the engine has compiled.

    Raises:
        UnreadablePatternError: it has a construct that is not read here.
    """
    reader = _Reader(pattern)
    node = reader.choice()
    if reader.at < len(pattern):
        raise UnreadablePatternError(pattern)
    return node


class _Reader:
    """Recursive descent over one pattern."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.folds = False

    def _next(self) -> str:
        if self.at >= len(self.text):
            raise UnreadablePatternError(self.text)
        self.at += 1
        return self.text[self.at - 1]

    def _is_at(self, text: str) -> bool:
        if not self.text.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def choice(self) -> Node:
        parts = [self._sequence()]
        while self._is_at("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _repeated(self, node: Node) -> Node:
        while True:
            counted = _COUNTED.match(self.text, self.at)
            if counted is not None:
                self.at = counted.end()
                least = int(counted[1])
                node = Repeat(node, least, least if counted[2] is None else int(counted[3]) if counted[3] else None)
            elif self._is_at("*"):
                node = Repeat(node, 0, None)
            elif self._is_at("+"):
                node = Repeat(node, 1, None)
            elif self._is_at("?"):
                node = Repeat(node, 0, 1)
            else:
                return node
            self._is_at("?")  # a lazy repeat has the same threads

    def _atom(self) -> Node:
        letter = self._next()
        if letter == "(":
            return self._group()
        if letter == "[":
            return Letters(self._folded(self._bracket()))
        if letter == "\\":
            return self._escaped()
        if letter == "^":
            return Start()
        if letter == "$":
            return EMPTY
        return Letters(_NO_LINE if letter == "." else self._folded(_one(letter)))

    def _group(self) -> Node:
        folds = self.folds
        if self.text.startswith("?", self.at):
            opening = _GROUP.match(self.text, self.at)
            if opening is None or "x" in (opening[1] or ""):
                raise UnreadablePatternError(self.text)
            self.at = opening.end()
            self.folds = folds or "i" in (opening[1] or "")
            if opening[3] == ")":  # flags for the rest of the group
                return EMPTY
        node = self.choice()
        if not self._is_at(")"):
            raise UnreadablePatternError(self.text)
        self.folds = folds
        return node

    def _escaped(self) -> Node:
        if self._is_at("A"):
            return Start()
        if self.text[self.at : self.at + 1] in ("b", "B", "z", "Z", "<", ">"):
            self.at += 1
            return EMPTY
        return Letters(self._folded(self._escape()))

    def _escape(self) -> int:
        """Return the characters of an escape, after its backslash."""
        code = _CODE.match(self.text, self.at)
        if code is not None:
            self.at = code.end()
            return _one(chr(int(next(filter(None, code.groups())), 16)))
        named = _PROPERTY.match(self.text, self.at)
        if named is not None:
            self.at = named.end()
            known = _PROPERTIES.get(named[2] or named[3] or "")
            if known is None:
                return ALL
            return ALL & ~known if (named[0][0] == "P") != bool(named[1]) else known
        letter = self._next()
        if letter.lower() in _CLASSES:
            known = _CLASSES[letter.lower()]
            return ALL & ~known if letter.isupper() else known
        return _one(_CONTROLS.get(letter, letter))

    def _bracket(self) -> int:
        """Return the characters of a class, after its bracket."""
        negated = self._is_at("^")
        mask, first = 0, True
        while first or not self._is_at("]"):
            first = False
            if self.text.startswith(("[", "&&", "--", "~~"), self.at):
                return self._skipped()
            low = self._member()
            if self.text.startswith("-", self.at) and self.text[self.at + 1 : self.at + 2] not in ("]", "-"):
                self.at += 1
                mask |= _between(low, self._member())
            else:
                mask |= low if isinstance(low, int) else _one(low)
        return ALL & ~mask | _FOREIGN if negated else mask  # foreign ones are not distinguished

    def _member(self) -> int | str:
        letter = self._next()
        return letter if letter != "\\" else self._escape()

    def _skipped(self) -> int:
        """Skip the rest of a class with other classes in it, which is taken for all characters."""
        depth = 1
        while depth:
            letter = self._next()
            depth += (letter == "[") - (letter == "]")
            self.at += letter == "\\"
        return ALL

    def _folded(self, mask: int) -> int:
        if not self.folds:
            return mask
        both = {each for place, letter in enumerate(_SAMPLE) if mask >> place & 1 for each in (letter.swapcase(),)}
        return mask | _set(both.__contains__)


def _one(letter: str) -> int:
    return 1 << _SAMPLE.index(letter) if letter in _SAMPLE else _FOREIGN


def _between(low: int | str, high: int | str) -> int:
    """Return the characters of a range; ends beyond the sample stand for every foreign character."""
    if isinstance(low, int) or isinstance(high, int):  # an escape
        ends = [each if isinstance(each, int) else _one(each) for each in (low, high)]
        start, end = ((each & -each).bit_length() - 1 for each in ends)
        return sum(1 << place for place in range(start, end + 1)) | (_FOREIGN if end >= 128 else 0)
    found = _set(lambda letter: low <= letter <= high)
    return found | (_FOREIGN if high > "\x7f" else 0)
