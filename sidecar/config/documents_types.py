"""A YAML document that knows where each of its values is written, and the problems found in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Path = tuple[str | int, ...]
"""Keys and indexes from the top of a document to one of its values."""

_PLAIN_KEY: Final = re.compile(r"[\w/:*-]+")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something is written; lines and columns count from 1, as editors do."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def rule(self) -> str:
        """`file:line`, by which logs and answers of `explain` name a rule."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong in a document; never holds a value, which might be a secret.

    Attributes:
        place: where it is written, or where it is missing.
        path: the path as text; empty when the file could not be read so far.
        wrong: what is wrong.
        accepted: what would be right; empty when nothing short can be said.
    """

    place: Place
    path: str
    wrong: str
    accepted: str = ""

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        accepted = f"; accepted: {self.accepted}" if self.accepted else ""
        return f"{self.place}: {path}{self.wrong}{accepted}"


class DocumentError(Exception):
    """Documents cannot be used: all that is wrong with them, in the order of the files' lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


class FindingsError(ValueError):
    """What a validator raises that finds several things wrong, or one deeper inside of its value.

    Args:
        findings: for each, the path from the validated value, what is wrong, and what is accepted.
    """

    def __init__(self, findings: Iterable[tuple[Path, str, str]]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(wrong for _, wrong, _ in self.findings))


@dataclass(frozen=True, slots=True)
class Document:
    """The plain values of one document, or of several merged ones, and where each is written.

    Attributes:
        file: the file's name as problems and rules show it.
        value: mappings, lists, text, integers, floats, booleans and None; not to be changed, may be secret.
        keys: where the key of a value stands (for an entry of a list, the entry itself).
        values: where the value itself begins.
        texts: what was substituted for values that are wholly a `${...}`, before it was read as a
            scalar. May be secret.
        digest: of the text or texts, as they are on disk: the same for the same documents only.
        problems: what is wrong although reading could go on; `validate` raises them with its own.
    """

    file: str
    value: dict[str, Any] = field(repr=False)
    keys: Mapping[Path, Place] = field(default_factory=dict)
    values: Mapping[Path, Place] = field(default_factory=dict)
    texts: Mapping[Path, str] = field(default_factory=dict, repr=False)
    digest: str = ""
    problems: tuple[Problem, ...] = ()

    def place(self, path: Path) -> Place:
        """Where the key at `path` stands, or the nearest thing around it that is written."""
        return self._nearest(self.keys, path)

    def value_place(self, path: Path) -> Place:
        """Where the value at `path` begins, or the nearest thing around it that is written."""
        return self._nearest(self.values, path)

    def rule(self, path: Path) -> str:
        """`file:line` of the key at `path`."""
        return self.place(path).rule

    def problem(self, path: Path, wrong: str, accepted: str = "", *, at_key: bool = False) -> Problem:
        """A problem with the value at `path`, or with its key."""
        place = self.place(path) if at_key else self.value_place(path)
        return Problem(place, path_text(path), wrong, accepted)

    def _nearest(self, places: Mapping[Path, Place], path: Path) -> Place:
        for length in range(len(path), 0, -1):
            if (found := places.get(path[:length])) is not None:
                return found
        return Place(self.file)


def path_text(path: Path) -> str:
    """The path as people write it: `tools.search.scopes[0]`, `tools["a.b"]`; `(top)` for the whole."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += '["' + part.replace("\\", "\\\\").replace('"', '\\"') + '"]'
    return text or "(top)"
