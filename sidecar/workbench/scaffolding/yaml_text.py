"""YAML text with comments, written by PyYAML's emitter: no value can end its scalar or begin another key.

Plain style is used only for texts that every reader takes for text; all others are quoted.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml
from yaml.emitter import Emitter
from yaml.resolver import Resolver

WIDTH: Final = 118
MAX_COMMENT: Final = 400
"""Characters of one comment; names of a backend may be in it."""
_FLOW: Final = 100  # characters of a collection that is written in one line
_STRING: Final = "tag:yaml.org,2002:str"
# Texts that no version of YAML reads as another type, and that need no quotes in {} or [].
_PLAIN: Final = re.compile(
    r"[A-Za-z_][A-Za-z0-9_./+-]*(?::[A-Za-z0-9_./:+*~%-]+(?<!:))?(?: [A-Za-z0-9_(][A-Za-z0-9_./+()'-]*)*"
    r"|[0-9]{1,3}(?:\.[0-9]{1,3}){3}:[0-9]{1,5}"
)
_VISIBLE: Final = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Noted:
    """Value with comments above its key.

    Attributes:
        value: the value.
        comments: one line each.
    """

    value: Any
    comments: tuple[str, ...]


def document(value: Mapping[str, Any], head: tuple[str, ...] = ()) -> str:
    """Write a mapping as one YAML document.

    Args:
        value: mappings, lists, text, integers, finite floats, booleans and None; a value of a mapping, or an entry of
            a list, may be `Noted`.
        head: comments at the top.
    """
    stream = io.StringIO()
    for line in head:
        stream.write(f"# {comment(line)}\n" if line else "\n")
    emitter = _Emitter(stream, allow_unicode=False, width=WIDTH)
    for event in _events(value):
        emitter.emit(event)
    return stream.getvalue()


def comment(text: str) -> str:
    """Return a text for a comment or a message: one line of visible ASCII, cut."""
    shown = _VISIBLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text[:MAX_COMMENT])
    return shown if len(shown) <= MAX_COMMENT and len(text) <= MAX_COMMENT else f"{shown[: MAX_COMMENT - 3]}..."


def plain(value: Any) -> Any:
    """Return a value without its comments, as a reader of the text gets it."""
    if isinstance(value, Noted):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


class _Emitter(Emitter):
    """Emitter that writes the comments of an event before it, on lines of their own."""

    def expect_block_mapping_key(self, first: bool = False) -> None:
        self._write_comments()
        super().expect_block_mapping_key(first)

    def expect_block_sequence_item(self, first: bool = False) -> None:
        self._write_comments()
        super().expect_block_sequence_item(first)

    def expect_block_sequence(self) -> None:
        self.increase_indent(flow=False, indentless=False)
        self.state = self.expect_first_block_sequence_item

    def choose_scalar_style(self) -> str:
        # PyYAML quotes `a:b` in [] and {}; every reader reads it as text.
        quoted = isinstance(self.event, _Text) and not _is_plain(self.event.value)
        return '"' if quoted else ""

    def _write_comments(self) -> None:
        for line in getattr(self.event, "comments", ()):
            self.write_indent()
            if line:
                self.stream.write(f"# {comment(line)}")
                self.whitespace = False  # the next indent begins a line
                self.column += 2
            elif self.line:
                self.stream.write("\n")


class _Text(yaml.ScalarEvent):
    """Scalar that is text."""


def _events(value: Mapping[str, Any]) -> Iterator[yaml.Event]:
    yield yaml.StreamStartEvent()
    yield yaml.DocumentStartEvent(explicit=False)
    yield from _value(value, (), 0)
    yield yaml.DocumentEndEvent(explicit=False)
    yield yaml.StreamEndEvent()


def _value(value: Any, comments: tuple[str, ...], depth: int) -> Iterator[yaml.Event]:
    if isinstance(value, Mapping):
        flow = not value or (depth > 1 and _short(value))
        yield _noted(yaml.MappingStartEvent(None, None, True, flow_style=flow), comments)
        for key, each in value.items():
            notes, plain = _parts(each)
            yield _noted(_text(key), notes)
            yield from _value(plain, (), depth + 1)
        yield yaml.MappingEndEvent()
    elif isinstance(value, list | tuple):
        flow = not any(isinstance(_parts(each)[1], Mapping) for each in value) or depth > 1
        yield _noted(yaml.SequenceStartEvent(None, None, True, flow_style=flow and _short(value)), comments)
        for each in value:
            notes, plain = _parts(each)
            yield from _value(plain, notes, depth)
        yield yaml.SequenceEndEvent()
    else:
        yield _noted(_scalar(value), comments)


def _parts(value: Any) -> tuple[tuple[str, ...], Any]:
    return (value.comments, value.value) if isinstance(value, Noted) else ((), value)


def _noted(event: yaml.Event, comments: tuple[str, ...]) -> yaml.Event:
    event.comments = comments  # type: ignore[attr-defined]
    return event


def _scalar(value: Any) -> yaml.Event:
    if isinstance(value, str):
        return _text(value)
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return yaml.ScalarEvent(None, None, (True, False), text)


def _text(value: str) -> yaml.Event:
    return _Text(None, None, (True, True), value)


def _is_plain(value: str) -> bool:
    if _PLAIN.fullmatch(value) is None or value.lower() in _OLD_BOOLEANS:
        return False
    return bool(_RESOLVER.resolve(yaml.ScalarNode, value, (True, False)) == _STRING)  # type: ignore[no-untyped-call]


_RESOLVER: Final = Resolver()
_OLD_BOOLEANS: Final = ("y", "n")  # YAML 1.1; PyYAML reads them as text


def _short(value: Any) -> bool:
    """Return True for a collection that fits one line and has no comments in it."""
    return 0 <= _length(value, _FLOW) <= _FLOW


def _length(value: Any, left: int) -> int:
    """Return the length of a value in one line; -1 when it has comments, more than `left` when it is longer."""
    if isinstance(value, Noted):
        return -1
    if not isinstance(value, Mapping | list | tuple):
        return len(str(value)) + 2
    total = 2
    parts = [part for pair in value.items() for part in pair] if isinstance(value, Mapping) else value
    for part in parts:
        length = _length(part, left - total)
        if length < 0:
            return -1
        total += length + 2
        if total > left:
            return left + 1
    return total
