"""`mode: shadow` of a policy: a rule that is evaluated, logged and counted, and refuses nothing.

It is accepted on a tool's `arguments` and `confirm`, on one quota, and on a plan with a list of tools. Anywhere else it
is an error: an author who believes that a rule is only tried must not learn from refused calls that it is enforced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sidecar.config.documents.merging import Document, Path, Problem

MODE: Final = "mode"
SHADOW: Final = "shadow"

_ACCEPTED: Final = (
    ("tools", "*", "arguments"),
    ("tools", "*", "confirm"),
    ("quotas", "*"),
    ("plans", "*"),
)
# Sections with names that the policy's author chooses, and values of callers: `mode` means something else there.
_NAMES: Final = frozenset({"scopes", "quotas", "credits", "plans", "tools", "resources", "prompts", "methods"})
_ELSEWHERE: Final = "on a tool's arguments or confirm, a quota, or a plan with a list of tools"


def misplaced(document: Document) -> Iterator[Problem]:
    """Find every `mode: shadow` at a place where no rule can be in shadow mode."""
    for path in _found(document.value, ()):
        wrong = "shadow mode is not available here, so the rule would be enforced"
        yield document.problem((*path, MODE), wrong, _ELSEWHERE, at_key=True)


def is_shadow(document: Document, path: Path, entry: Mapping[str, Any], problems: list[Problem]) -> bool:
    """Return True for a mapping with `mode: shadow`; any other mode becomes a problem."""
    mode = entry.get(MODE)
    if mode is not None and mode != SHADOW:
        problems.append(document.problem((*path, MODE), f"{mode!r} is no mode", "shadow, or not this key"))
    return bool(mode == SHADOW)


def _found(value: Any, path: Path) -> Iterator[Path]:
    if path[:1] == ("tests",) or _is_schema(path):
        return
    if isinstance(value, dict):
        if value.get(MODE) == SHADOW and not _is_accepted(path) and not (len(path) == 1 and path[0] in _NAMES):
            yield path
        for key, below in value.items():
            yield from _found(below, (*path, key))


def _is_accepted(path: Path) -> bool:
    return any(
        len(path) == len(pattern) and all(part in ("*", step) for part, step in zip(pattern, path, strict=True))
        for pattern in _ACCEPTED
    )


def _is_schema(path: Path) -> bool:
    """Return True below the top of a tool's argument schema, where unknown keywords are errors anyway."""
    return path[:1] == ("tools",) and path[2:3] == ("arguments",) and len(path) > 3
