"""Guess of a tool's level from its annotations and its name: a person confirms it.

Annotations are hints of the backend and not trusted (MCP, tools): a name that says `delete` outweighs `readOnlyHint`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Level(StrEnum):
    """Levels of tools, and the last parts of their scopes."""

    READ = "read"
    WRITE = "write"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class Guess:
    """Guessed level of a tool.

    Attributes:
        level: the level.
        external: True when the backend says that the tool reaches systems outside of it (`openWorldHint`).
        doubt: reason why a person must decide; None when the backend's hints say it.
    """

    level: Level
    external: bool
    doubt: str | None


_READ: Final = frozenset(
    {
        *("analyze", "calculate", "check", "compare", "compute", "count", "describe", "diff", "download"),
        *("echo", "estimate", "evaluate", "examine", "explain", "export", "fetch", "find", "get"),
        *("head", "inspect", "list", "lookup", "ls", "open", "ping", "preview", "query"),
        *("read", "resolve", "retrieve", "search", "show", "stat", "status", "summarize", "test"),
        *("tree", "validate", "verify", "view", "whoami"),
    }
)
_DESTROY: Final = frozenset(
    {
        *("archive", "ban", "cancel", "charge", "clear", "close", "deactivate", "delete", "deploy"),
        *("destroy", "disable", "drop", "erase", "execute", "format", "kill", "pay", "publish"),
        *("purchase", "purge", "refund", "remove", "reset", "revoke", "rm", "send", "shutdown"),
        *("spend", "terminate", "transfer", "truncate", "uninstall", "unpublish", "wipe"),
    }
)
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def guess(name: str, annotations: object) -> Guess:
    """Guess the level of a tool.

    Args:
        name: its name.
        annotations: the member `annotations` of its definition, as sent.
    """
    hints: dict[str, Any] = annotations if isinstance(annotations, dict) else {}
    words = [word.lower() for word in _WORD.findall(name)]
    named = next((word for word in words if word in _DESTROY), None)
    external = hints.get("openWorldHint") is True
    if hints.get("readOnlyHint") is True:
        if named is not None and words[0] not in _READ:
            return Guess(Level.DESTROY, external, f"the hints say read-only, and the name says {named}")
        return Guess(Level.READ, external, None)
    if hints.get("destructiveHint") is True:
        return Guess(Level.DESTROY, external, None)
    if hints.get("destructiveHint") is False:
        doubt = None if named is None else f"the hints say not destructive, and the name says {named}"
        return Guess(Level.WRITE if named is None else Level.DESTROY, external, doubt)
    if words and words[0] in _READ and hints.get("readOnlyHint") is None:
        return Guess(Level.READ, external, "read is guessed from the name; the backend gives no hints")
    if named is not None:
        return Guess(Level.DESTROY, external, f"destroy is guessed from the name ({named}); the backend gives no hints")
    return Guess(Level.WRITE, external, "neither name nor hints say what it does, so it counts as writing")
