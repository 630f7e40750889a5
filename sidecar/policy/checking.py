"""Collects what is wrong with a policy, each with its place."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.config.documents import Document, Path, Problem

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
    """The merged document and the problems found in it so far.

    Names count as declared as soon as they are written, even where what is written of them is
    wrong: one mistake is told once.
    """

    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self.document = document
        self.problems = problems

    def wrong(self, path: Path, wrong: str, accepted: str = "", *, at_key: bool = False) -> None:
        """Note a problem with the value at a path, or with its key."""
        self.problems.append(self.document.problem(path, wrong, accepted, at_key=at_key))

    def declared(self, section: str, name: str) -> bool:
        """Whether a section names something."""
        entries = self.document.value.get(section)
        return isinstance(entries, dict) and name in entries

    def unknown(self, section: str, name: str, path: Path, *, at_key: bool = False) -> None:
        """Note that something is named that no section declares."""
        entries = self.document.value.get(section)
        names = ", ".join(entries) if isinstance(entries, dict) else ""
        accepted = names or f"none is declared in {section}"
        self.wrong(path, f"there is no {_NOUNS[section]} {name!r}", accepted, at_key=at_key)

    def known(self, section: str, names: Iterable[str], path: Path) -> None:
        """Check a list of names, all of which must be declared, each given once."""
        seen: set[str] = set()
        for index, name in enumerate(names):
            if not self.declared(section, name):
                self.unknown(section, name, (*path, index))
            elif name in seen:
                self.wrong((*path, index), f"{name!r} is given twice", "each once")
            seen.add(name)
