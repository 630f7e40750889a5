"""Merging of documents, and the names of this package for its importers.

`parse` a text, `merge` several documents into one, `validate` against a `Model`. Checks beyond the
model follow: `document.problem(path, ...)` makes a problem with its place, and
`DocumentError(problems)` reports all of them at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from sidecar.config.documents.positions import (
    Document,
    DocumentError,
    FindingsError,
    Path,
    Position,
    Problem,
    path_text,
)
from sidecar.config.documents.strict_yaml import Substitute, parse
from sidecar.config.documents.validation import Lax, Model, context_value, split_location, validate, value_at

__all__ = [
    "Document",
    "DocumentError",
    "FindingsError",
    "Lax",
    "Model",
    "Path",
    "Position",
    "Problem",
    "Substitute",
    "context_value",
    "merge",
    "parse",
    "path_text",
    "split_location",
    "validate",
    "value_at",
]

T = TypeVar("T")


def merge(documents: Iterable[Document], *, named: Collection[str] = (), joined: Collection[str] = ()) -> Document:
    """Merge several documents into one, as if all were written in one file.

    A name or a section that is given twice becomes a problem of the result, which names both places.

    Args:
        documents: the documents in the order in which their lists are joined.
        named: top-level keys that are mappings of names; they are merged name by name.
        joined: top-level keys that are lists; they are joined.
    """
    merged = _Merger(named, joined)
    for document in documents:
        merged.add(document)
    digest = hashlib.sha256("".join(merged.digests).encode()).hexdigest()
    problems = tuple(merged.problems)
    return Document(
        merged.file,
        merged.value,
        merged.keys,
        merged.values,
        merged.texts,
        secrets=merged.secrets,
        digest=digest,
        problems=problems,
    )


class _Merger:
    def __init__(self, named: Collection[str], joined: Collection[str]) -> None:
        self.named = named
        self.joined = joined
        self.file = ""
        self.secrets = False
        self.value: dict[str, Any] = {}
        self.keys: dict[Path, Position] = {}
        self.values: dict[Path, Position] = {}
        self.texts: dict[Path, str] = {}
        self.digests: list[str] = []
        self.problems: list[Problem] = []

    def add(self, document: Document) -> None:
        """Add the sections of one document."""
        self.file = self.file or document.file
        self.secrets = self.secrets or document.secrets
        self.digests.append(document.digest)
        self.problems += document.problems
        shift: dict[str, int] = {}
        lost: set[Path] = set()
        for section, value in document.value.items():
            present = self.value.get(section)
            if section not in self.value:
                self.value[section] = value.copy() if isinstance(value, dict | list) else value
            elif section in self.named and isinstance(present, dict) and isinstance(value, dict):
                lost |= self._add_names(document, section, present, value)
            elif section in self.joined and isinstance(present, list) and isinstance(value, list):
                shift[section] = len(present)
                present += value
            else:
                lost.add((section,))
                self._twice(document, (section,))
        self._adopt(document.keys, self.keys, shift, lost)
        self._adopt(document.values, self.values, shift, lost)
        self._adopt(document.texts, self.texts, shift, lost)

    def _add_names(self, document: Document, section: str, present: dict[str, Any], value: dict[str, Any]) -> set[Path]:
        twice = {(section, name) for name in value if name in present}
        for path in twice:
            self._twice(document, path)
        present.update((name, each) for name, each in value.items() if (section, name) not in twice)
        return set(twice)

    def _twice(self, document: Document, path: Path) -> None:
        first = Document(self.file, {}, self.keys).place(path)
        self.problems.append(
            document.problem(path, f"given twice, the first time at {first}", "each name once", at_key=True)
        )

    @staticmethod
    def _adopt(source: Mapping[Path, T], target: dict[Path, T], shift: Mapping[str, int], lost: set[Path]) -> None:
        """Copy a document's positions to the merged paths; earlier entries take precedence."""
        for path, known in source.items():
            if path[:1] in lost or path[:2] in lost:
                continue
            section, *below = path or ("",)
            if below and isinstance(below[0], int) and section in shift:
                path = (section, below[0] + shift[str(section)], *below[1:])
            target.setdefault(path, known)
