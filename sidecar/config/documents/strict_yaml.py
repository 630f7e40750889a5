"""Strict YAML reader: it rejects duplicate keys, tags, and values that YAML 1.1 and 1.2 read differently.

The reader builds values from the parser's events, because PyYAML's own constructor keeps the last of
duplicate keys, reads `on` as true and `010` as 8, and drops positions. Plain scalars follow the core
schema of YAML 1.2 (section 10.3.2), so that `no` and `2026-07-28` are text.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import yaml

from sidecar.config.documents.positions import Document, DocumentError, Path, Position, Problem, path_text
from sidecar.config.documents.shown_values import shown, shown_in_config
from sidecar.config.documents.yaml_mistakes import describe, without_keys

Substitute = Callable[[str], str]
"""Function that replaces every `${...}` in a text, or raises ValueError with the fault and no value."""

_Node = yaml.MappingStartEvent | yaml.SequenceStartEvent | yaml.ScalarEvent

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 200_000
"""Maximum number of values in one file, with aliases expanded."""

_WHOLE: Final = re.compile(r"\$\{[^{}]*\}")
_WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,1000}|0o[0-7]{1,1000}|0x[0-9a-fA-F]{1,1000}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_AMBIGUOUS: Final = re.compile(r"[-+]?0[0-9]+")
_NOT_JSON: Final = re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)")
_JOINED: Final = re.compile(r"[\w.-]+:[^/]")
_STRING_TAGS: Final = ("!", "tag:yaml.org,2002:str")


def parse(file: str, text: str, substitute: Substitute | None = None, *, secrets: bool = True) -> Document:
    """Read one YAML document that is a mapping; an empty one is an empty mapping.

    Args:
        file: the name that problems show.
        text: its contents.
        substitute: applied once to every text value; a value that consists of one `${...}` is then
            read as a plain scalar.
        secrets: False for a text without secrets, whose problems may show any value.

    Raises:
        DocumentError: the text is no YAML mapping. The document keeps other problems.
    """
    reader = _Reader(file, substitute, secrets)
    try:
        value = reader.read(yaml.parse(text, Loader=yaml.SafeLoader))
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return Document(
            file,
            value,
            reader.keys,
            reader.values,
            reader.texts,
            reader.written,
            secrets,
            digest,
            tuple(reader.problems),
        )
    except yaml.MarkedYAMLError as error:
        broken = describe(file, text, error)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Position(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        broken = Problem(place, "", "a character that YAML does not allow")
    except _NoMappingError as error:
        broken = without_keys(file, text, error.place)
    except _Fatal as error:
        broken = error.problem
    raise DocumentError([*reader.problems, broken])


class _Fatal(Exception):  # noqa: N818 - ends the reading of one file, never leaves this module
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.wrong)
        self.problem = problem


class _NoMappingError(Exception):
    def __init__(self, place: Position) -> None:
        super().__init__("no mapping")
        self.place = place


class _Reader:
    """Builder of one document from the parser's events; it collects problems and continues."""

    def __init__(self, file: str, substitute: Substitute | None, secrets: bool) -> None:
        self.file = file
        self.substitute = substitute
        self.secrets = secrets
        self.problems: list[Problem] = []
        self.keys: dict[Path, Position] = {}
        self.values: dict[Path, Position] = {}
        self.texts: dict[Path, str] = {}
        self.written: dict[Path, str] = {}
        self.count = 0
        self.anchors: dict[str, tuple[Any, int, bool]] = {}  # the value, its number of values, if it is substituted

    def read(self, events: Iterator[yaml.Event]) -> dict[str, Any]:
        """Read the only document of the stream."""
        value: Any = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Fatal(Problem(self._place(event), "", "a second document", "one document per file"))
                first = next(events)
                value = self._value(first, events, ())
                if isinstance(value, list):
                    raise _Fatal(Problem(self._place(first), "(top)", "the file is not a mapping", "keys with values"))
                if value is not None and not isinstance(value, dict):
                    raise _NoMappingError(self._place(first))
        return value or {}

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Any:
        place = self._place(event)
        self.values.setdefault(path, place)
        self._count(place, path, 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place, path)
        before, substituted = self.count, len(self.written)
        value: Any
        if isinstance(event, yaml.MappingStartEvent):
            self._check_tag(event, place, path)
            value = self._mapping(events, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event, place, path)
            value = self._sequence(events, path)
        else:
            assert isinstance(event, yaml.ScalarEvent)  # noqa: S101 - there is no fourth kind of node
            self._check_tag(event, place, path)
            value = self._scalar(event, place, path)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, self.count - before + 1, len(self.written) > substituted)
        return value

    def _mapping(self, events: Iterator[yaml.Event], path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event, events, path)
            value_event = next(events)
            key, value_event = self._joined(event, value_event, path) or (key, value_event)
            below = (*path, key)
            place = self._place(event)
            if key in result:
                first = self.keys[below]
                wrong = f"given twice, the first time at {first}"
                self.problems.append(Problem(place, path_text(below), wrong, "each key once"))
                self._value(value_event, events, below)
                continue
            self.keys[below] = place
            result[key] = self._value(value_event, events, below)
        return result

    def _joined(self, key: yaml.Event, value: yaml.Event, path: Path) -> tuple[str, yaml.Event] | None:
        """Report an entry `key:value` without a blank in a flow mapping, and return it as it was meant; else None.

        YAML reads it as a key without a value.
        """
        if not (isinstance(key, yaml.ScalarEvent) and isinstance(value, yaml.ScalarEvent) and key.implicit[0]):
            return None
        is_absent = value.value == "" and self._place(value) == _end(self.file, key) == _end(self.file, value)
        if not is_absent or _JOINED.match(key.value) is None:
            return None
        name, _, text = key.value.partition(":")
        start = self._place(key)
        colon = start.column + len(name)
        place = Position(self.file, start.line, colon)
        wrong, accepted = "no blank after the colon", f"{name}: value, with a blank after the colon"
        self.problems.append(Problem(place, path_text((*path, name)), wrong, accepted))
        mark = yaml.Mark(self.file, 0, start.line - 1, colon, None, 0)
        return name, yaml.ScalarEvent(None, None, (True, False), text, mark, mark)

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> str:
        """Return a key as text, even if its plain scalar has another type as a value."""
        place = self._place(event)
        if not isinstance(event, yaml.ScalarEvent):
            accepted = "text, with quotes if it has {} or []"
            self.problems.append(Problem(place, path_text(path), "this cannot be a key", accepted))
            self._value(event, events, (*path, "?"))
            return f"?{place}"
        key = self._unicode(event.value, place, path)
        if event.implicit[0] and key[:1].isspace():
            wrong = f"indented with U+{ord(key[0]):04X}, which is no blank in YAML"
            self.problems.append(Problem(place, path_text((*path, key.strip())), wrong, "blanks"))
            key = key.strip()
        if key == "<<" and event.implicit[0]:
            wrong, accepted = "merge keys are not supported", "the keys in full"
            self.problems.append(Problem(place, path_text((*path, key)), wrong, accepted))
        if self.substitute is not None and "${" in key:
            self.problems.append(Problem(place, path_text((*path, key)), "${...} in a key", "${...} in values only"))
        if event.tag is not None and event.tag not in _STRING_TAGS:
            self.problems.append(Problem(place, path_text((*path, key)), "tags are not supported", "no tag"))
        return key

    def _sequence(self, events: Iterator[yaml.Event], path: Path) -> list[Any]:
        result: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            below = (*path, len(result))
            self.keys[below] = self._place(event)
            result.append(self._value(event, events, below))
        return result

    def _alias(self, event: yaml.AliasEvent, place: Position, path: Path) -> Any:
        """Return the anchored value; its parts get the position of the alias."""
        if event.anchor not in self.anchors:
            accepted = "the name of an anchor above it, or quotes around the value"
            self._problem(place, path, "an alias of nothing above it", accepted)
            return None
        value, size, substituted = self.anchors[event.anchor]
        if substituted:
            self.written[path] = f"*{event.anchor}"
        self._count(place, path, size)
        return value

    def _scalar(self, event: yaml.ScalarEvent, place: Position, path: Path) -> Any:
        text = self._unicode(event.value, place, path)
        plain = event.implicit[0] and event.tag is None
        if self.substitute is not None and "${" in text:
            whole = _WHOLE.fullmatch(text) is not None
            self.written[path] = text
            try:
                text = self.substitute(text)
            except ValueError as error:
                self._problem(place, path, *str(error).split("; accepted: ", 1))
                return None
            if not whole:
                return text
            self.texts[path] = text
            plain = True
        return self._plain(text, place, path) if plain else text

    def _plain(self, text: str, place: Position, path: Path) -> Any:
        """Read a scalar of the YAML 1.2 core schema; reject values that JSON lacks or YAML 1.1 reads differently."""
        if text in _WORDS:
            return _WORDS[text]
        if _AMBIGUOUS.fullmatch(text) and path not in self.texts:
            self._problem(place, path, "a number that starts with 0", "no leading zero, or quotes", text)
            return text
        if _INTEGER.fullmatch(text) and not _AMBIGUOUS.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if _FLOAT.fullmatch(text) and not _AMBIGUOUS.fullmatch(text):
            number = float(text)
            if math.isfinite(number):
                return number
        elif not _NOT_JSON.fullmatch(text):
            return text
        if path not in self.texts:
            self._problem(place, path, "not a finite number", "a number of JSON, or quotes", text)
        return text

    def _check_tag(self, event: _Node, place: Position, path: Path) -> None:
        if event.tag is not None and not (isinstance(event, yaml.ScalarEvent) and event.tag in _STRING_TAGS):
            self._problem(place, path, "tags are not supported", "no tag")

    def _unicode(self, text: str, place: Position, path: Path) -> str:
        """Join pairs of escaped surrogates, which JSON writes and YAML lacks; reject lone ones."""
        if text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._problem(place, path, "half of a surrogate pair", "whole characters")
            return text.encode("ascii", "backslashreplace").decode("ascii")

    def _count(self, place: Position, path: Path, values: int) -> None:
        self.count += values
        if self.count > MAX_VALUES:
            raise _Fatal(Problem(place, "", f"more than {MAX_VALUES} values in one file"))
        if len(path) > MAX_DEPTH:
            raise _Fatal(Problem(place, "", f"nested deeper than {MAX_DEPTH} levels"))

    def _problem(self, place: Position, path: Path, wrong: str, accepted: str = "", found: str = "") -> None:
        value = shown_in_config(path, found, self.written) if self.secrets else shown(found)
        self.problems.append(Problem(place, path_text(path), wrong, accepted, value if found else ""))

    def _place(self, event: yaml.Event) -> Position:
        return _position(self.file, event.start_mark)


def _end(file: str, event: yaml.Event) -> Position:
    return _position(file, event.end_mark)


def _position(file: str, mark: Any) -> Position:
    return Position(file, mark.line + 1, mark.column + 1)
