"""YAML document with the position of each value, and the problems found in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.config.documents.shown_values import shown, shown_in_config

Path = tuple[str | int, ...]
"""Keys and indexes from the top of a document to one of its values."""

_PLAIN_KEY: Final = re.compile(r"[\w/:*-]+")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Position in a file; lines and columns count from 1, as in editors."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def rule(self) -> str:
        """`file:line`, the name of a rule in logs and in `explain`."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Problem of a document.

    Attributes:
        place: position of the fault, or of the missing entry's parent.
        path: the path as text; empty when the file is unreadable.
        wrong: description of the fault, without a value that might be secret.
        accepted: the accepted form; empty without a short description.
        found: the wrong value; empty for one that might be secret, or that is no scalar.
        near: the accepted name that a misspelt one resembles; empty without one.
    """

    place: Position
    path: str
    wrong: str
    accepted: str = ""
    found: str = ""
    near: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"

    @property
    def text(self) -> str:
        """Return the sentence without the position."""
        path = f"{self.path}: " if self.path else ""
        repeated = self.found.startswith("'") and self.found in self.wrong
        found = f"; found: {self.found}" if self.found and not repeated else ""
        accepted = f"; accepted: {self.accepted}" if self.accepted else ""
        near = f"; did you mean {self.near}?" if self.near else ""
        return f"{path}{self.wrong}{accepted}{found}{near}"


class DocumentError(Exception):
    """Invalid documents; the error has all their problems, in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


class FindingsError(ValueError):
    """Several faults found by one validator, or a fault deeper inside its value.

    Args:
        findings: for each fault the path from the validated value, the fault, and the accepted form. A path that
            ends with `[key]` is that of the key.
    """

    def __init__(self, findings: Iterable[tuple[Path, str, str]]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(wrong for _, wrong, _ in self.findings))


@dataclass(frozen=True, slots=True)
class Document:
    """Plain values of one document, or of several merged ones, with their positions.

    Attributes:
        file: the file's name in problems and rules.
        value: mappings, lists, text, integers, floats, booleans and None; read only, may be secret.
        keys: position of each value's key (for an entry of a list, of the entry itself).
        values: position of the value itself.
        texts: the substituted text of values that consist of one `${...}`, before it was read as a
            scalar. May be secret.
        written: the texts of values with a `${...}`, as the file has them.
        secrets: True for a document that may hold secrets, which problems do not show.
        digest: digest of the texts on disk.
        problems: problems that did not end the reading; `validate` raises them with its own.
    """

    file: str
    value: dict[str, Any] = field(repr=False)
    keys: Mapping[Path, Position] = field(default_factory=dict)
    values: Mapping[Path, Position] = field(default_factory=dict)
    texts: Mapping[Path, str] = field(default_factory=dict, repr=False)
    written: Mapping[Path, str] = field(default_factory=dict)
    secrets: bool = True
    digest: str = ""
    problems: tuple[Problem, ...] = ()

    def place(self, path: Path) -> Position:
        """Return the position of the key at `path`, or of its nearest existing parent."""
        return self._nearest(self.keys, path)

    def value_place(self, path: Path) -> Position:
        """Return the position of the value at `path`, or of its nearest existing parent."""
        return self._nearest(self.values, path)

    def rule(self, path: Path) -> str:
        """Return `file:line` of the key at `path`."""
        return self.place(path).rule

    def problem(self, path: Path, wrong: str, accepted: str = "", *, at_key: bool = False, near: str = "") -> Problem:
        """Return a problem with the value at `path`, or with its key.

        Args:
            path: the path.
            wrong: description of the fault.
            accepted: the accepted form.
            at_key: True for a problem with the key.
            near: the name that was probably meant.
        """
        if at_key:
            return Problem(self.place(path), path_text(path), wrong, accepted, "", near)
        return Problem(self.value_place(path), path_text(path), wrong, accepted, self.shown(path), near)

    def shown(self, path: Path) -> str:
        """Return the scalar at a path as problems show it; empty for other values, and for what may be secret."""
        value: Any = self.value
        for part in path:
            if isinstance(value, str) and part == 0:  # a text that is accepted as a list of one
                continue
            within = part in value if isinstance(value, dict) else isinstance(value, list) and part in range(len(value))
            if not within:
                return ""
            value = value[part]
        return shown_in_config(path, value, self.written) if self.secrets else shown(value)

    def _nearest(self, places: Mapping[Path, Position], path: Path) -> Position:
        for length in range(len(path), 0, -1):
            if (found := places.get(path[:length])) is not None:
                return found
        return Position(self.file)


def path_text(path: Path) -> str:
    """Format a path: `tools.search.scopes[0]`, `tools["a.b"]`; `(top)` for the whole document."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += '["' + part.replace("\\", "\\\\").replace('"', '\\"') + '"]'
    return text or "(top)"
