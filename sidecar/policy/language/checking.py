"""Collector of the problems of a policy, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.config.documents.merging import Document, Path, Problem
from sidecar.config.documents.suggestions import listed, nearest
from sidecar.policy.language.models import PolicyDocument

_NOUNS = {
    "scopes": "scope",
    "quotas": "quota",
    "credits": "pool of credits",
    "plans": "plan",
    "tools": "tool",
    "resources": "resource",
    "prompts": "prompt",
}


class Checker:
    """Merged document and the problems found in it so far.

    A name counts as declared even when its declaration is wrong, so that one mistake is reported once.
    """

    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self.document = document
        self.problems = problems

    def wrong(self, path: Path, wrong: str, accepted: str = "", *, at_key: bool = False, near: str = "") -> None:
        """Report a problem with the value at a path, or with its key; `near` is the name that was probably meant."""
        self.problems.append(self.document.problem(path, wrong, accepted, at_key=at_key, near=near))

    def declared(self, section: str, name: str) -> bool:
        """Return True when a section declares a name."""
        entries = self._entries(section)
        return isinstance(entries, dict) and name in entries

    def _entries(self, section: str) -> Any:
        """Return the value of a section, also of a misspelt one, which is a problem of its own."""
        value = self.document.value
        if section in value:
            return value[section]
        return next((value[key] for key in value if key not in _NOUNS and nearest(key, _NOUNS) == section), None)

    def unknown(self, section: str, name: str, path: Path, *, at_key: bool = False) -> None:
        """Report a name that its section does not declare."""
        entries = self._entries(section)
        names = list(entries) if isinstance(entries, dict) else []
        accepted = listed(names, f"none is declared in {section}")
        wrong = f"there is no {_NOUNS[section]} {name!r}"
        self.wrong(path, wrong, accepted, at_key=at_key, near=nearest(name, names))

    def shadow_quotas(self, model: PolicyDocument) -> Mapping[str, str]:
        """Return `file:line` of each quota in shadow mode."""
        return {name: self.document.rule(("quotas", name)) for name, each in model.quotas.items() if each.mode}

    def known(self, section: str, names: Iterable[str], path: Path) -> None:
        """Check that all names of a list are declared and none is repeated."""
        seen: set[str] = set()
        for index, name in enumerate(names):
            if not self.declared(section, name):
                self.unknown(section, name, (*path, index))
            elif name in seen:
                self.wrong((*path, index), f"{name!r} is given twice", "each once")
            seen.add(name)
