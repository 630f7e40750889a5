"""YAML read strictly: duplicate keys, tags and anything that YAML 1.1 and 1.2 read differently.

Values are built from the parser's events, as PyYAML's own constructor keeps the last of duplicate
keys, reads `on` as true and `010` as 8, and forgets where things stand. Plain scalars follow the
core schema of YAML 1.2 (section 10.3.2), so that `no` and `2026-07-28` are text.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import yaml

from sidecar.config.documents_types import Document, DocumentError, Path, Place, Problem, path_text

Substitute = Callable[[str], str]
"""Replaces every `${...}` in a text, or raises ValueError that says what is wrong (and no value)."""

_Node = yaml.MappingStartEvent | yaml.SequenceStartEvent | yaml.ScalarEvent

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 200_000
"""Values in one file, counted after aliases are followed: no file of a person is larger."""

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
_STRING_TAGS: Final = ("!", "tag:yaml.org,2002:str")


def parse(file: str, text: str, substitute: Substitute | None = None) -> Document:
    """Read one YAML document that is a mapping; an empty one is an empty mapping.

    Args:
        file: the name that problems show.
        text: its contents.
        substitute: applied to every text value, once; a value that is wholly one `${...}` is then
            read as a plain scalar.

    Raises:
        DocumentError: nothing sensible can be read. Lesser problems are kept in the document.
    """
    reader = _Reader(file, substitute)
    try:
        value = reader.read(yaml.parse(text, Loader=yaml.SafeLoader))
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return Document(file, value, reader.keys, reader.values, reader.texts, digest, tuple(reader.problems))
    except yaml.MarkedYAMLError as error:
        broken = _not_yaml(file, text, error)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        broken = Problem(place, "", "a character that YAML does not allow")
    except _Fatal as error:
        broken = error.problem
    raise DocumentError([*reader.problems, broken])


def _not_yaml(file: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Place(file) if mark is None else Place(file, mark.line + 1, mark.column + 1)
    line = "".join(text.splitlines()[place.line - 1 : place.line])
    quotes = 'quotes around a "${...}" that stands inside of {} or []' if "${" in line else ""
    return Problem(place, "", f"not YAML: {error.problem or error.context}", quotes)


class _Fatal(Exception):  # noqa: N818 - ends the reading of one file, is never seen outside
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.wrong)
        self.problem = problem


class _Reader:
    """Builds one document from the parser's events; problems are collected, reading goes on."""

    def __init__(self, file: str, substitute: Substitute | None) -> None:
        self.file = file
        self.substitute = substitute
        self.problems: list[Problem] = []
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self.texts: dict[Path, str] = {}
        self.count = 0
        self.anchors: dict[str, tuple[Any, int]] = {}  # value and how many values are in it

    def read(self, events: Iterator[yaml.Event]) -> dict[str, Any]:
        """The only document in the stream."""
        value: Any = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Fatal(Problem(self._place(event), "", "a second document", "one document per file"))
                first = next(events)
                value = self._value(first, events, ())
                if value is not None and not isinstance(value, dict):
                    raise _Fatal(Problem(self._place(first), "(top)", "the file is not a mapping", "keys with values"))
        return value or {}

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Any:
        place = self._place(event)
        self.values.setdefault(path, place)
        self._count(place, path, 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place, path)
        before = self.count
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
            self.anchors[event.anchor] = (value, self.count - before + 1)
        return value

    def _mapping(self, events: Iterator[yaml.Event], path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event, events, path)
            below = (*path, key)
            place = self._place(event)
            if key in result:
                first = self.keys[below]
                wrong = f"given twice, the first time at {first}"
                self.problems.append(Problem(place, path_text(below), wrong, "each key once"))
                self._value(next(events), events, below)
                continue
            self.keys[below] = place
            result[key] = self._value(next(events), events, below)
        return result

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> str:
        """A key is always text, however its plain scalar would be read as a value."""
        place = self._place(event)
        if not isinstance(event, yaml.ScalarEvent):
            self.problems.append(Problem(place, path_text(path), "this cannot be a key", "text"))
            self._value(event, events, (*path, "?"))
            return f"?{place}"
        key = self._unicode(event.value, place, path)
        if key == "<<" and event.implicit[0]:
            self.problems.append(Problem(place, path_text((*path, key)), "merge keys are not supported"))
        if self.substitute is not None and "${" in key:
            self.problems.append(Problem(place, path_text((*path, key)), "${...} in a key", "${...} in values only"))
        if event.tag is not None and event.tag not in _STRING_TAGS:
            self.problems.append(Problem(place, path_text((*path, key)), "tags are not supported"))
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

    def _alias(self, event: yaml.AliasEvent, place: Place, path: Path) -> Any:
        """The anchored value itself; what is inside it is placed where the alias stands."""
        if event.anchor not in self.anchors:
            self._problem(place, path, "an alias of nothing above it")
            return None
        value, size = self.anchors[event.anchor]
        self._count(place, path, size)
        return value

    def _scalar(self, event: yaml.ScalarEvent, place: Place, path: Path) -> Any:
        text = self._unicode(event.value, place, path)
        plain = event.implicit[0] and event.tag is None
        if self.substitute is not None and "${" in text:
            whole = _WHOLE.fullmatch(text) is not None
            try:
                text = self.substitute(text)
            except ValueError as error:
                self._problem(place, path, str(error))
                return None
            if not whole:
                return text
            self.texts[path] = text
            plain = True
        return self._plain(text, place, path) if plain else text

    def _plain(self, text: str, place: Place, path: Path) -> Any:
        """YAML 1.2 core schema, without what JSON cannot say or YAML 1.1 reads as another number."""
        if text in _WORDS:
            return _WORDS[text]
        if _AMBIGUOUS.fullmatch(text) and path not in self.texts:
            self._problem(place, path, "a number that starts with 0", "no leading zero, or quotes")
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
            self._problem(place, path, "not a finite number", "a number that JSON can say, or quotes")
        return text

    def _check_tag(self, event: _Node, place: Place, path: Path) -> None:
        if event.tag is not None and not (isinstance(event, yaml.ScalarEvent) and event.tag in _STRING_TAGS):
            self._problem(place, path, "tags are not supported")

    def _unicode(self, text: str, place: Place, path: Path) -> str:
        """Join pairs of escaped surrogates, which JSON writes and YAML does not know; refuse lone ones."""
        if text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._problem(place, path, "half of a surrogate pair", "whole characters")
            return text.encode("ascii", "backslashreplace").decode("ascii")

    def _count(self, place: Place, path: Path, values: int) -> None:
        self.count += values
        if self.count > MAX_VALUES:
            raise _Fatal(Problem(place, "", f"more than {MAX_VALUES} values in one file"))
        if len(path) > MAX_DEPTH:
            raise _Fatal(Problem(place, "", f"nested deeper than {MAX_DEPTH} levels"))

    def _problem(self, place: Place, path: Path, wrong: str, accepted: str = "") -> None:
        self.problems.append(Problem(place, path_text(path), wrong, accepted))

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        assert mark is not None  # noqa: S101 - only events made by hand have none
        return Place(self.file, mark.line + 1, mark.column + 1)
