"""Detection of truncated policies, which must not replace a complete one.

A file that is read during a write, or that a failed program wrote, ends anywhere. Signs are a policy
without tools, an empty file, or a key without a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sidecar.config.documents.merging import Document, Path, Problem

SAID: Final = "empty"
"""Key that declares a policy without tools as intended."""

_ACCEPTED: Final = "tools, or empty: true for a policy without tools"
# Places where null is a value: a window without a limit, and any JSON. `*` is any name or index.
_NULLABLE: Final[tuple[tuple[str, ...], ...]] = (
    ("plans", "*", "quotas", "*", "*"),
    ("tools", "*", "arguments", "*"),
    ("tests", "*", "call", "arguments", "*"),
    ("tests", "*", "call", "meta", "*"),
)


def incomplete(files: Sequence[Document], merged: Document) -> Iterator[Problem]:
    """Find signs that a policy was emptied or lost its tools.

    Args:
        files: the documents as read.
        merged: the same documents as one.
    """
    for each in files:
        if not each.value and not each.problems:
            yield each.problem((), "an empty file", "sections of a policy, or empty: true")
    said = merged.value.get(SAID)
    tools = merged.value.get("tools")
    if tools and said is True:
        yield merged.problem((SAID,), "the policy has tools", "false, or not this", at_key=True)
    if not tools and said is not True and (not files or any(each.value for each in files)):
        yield merged.problem(("tools",), "the policy declares no tools, so clients can call nothing", _ACCEPTED)


def keys_without_value(merged: Document) -> Iterator[Problem]:
    """Find keys without a value: in a truncated file, null would permit more (no rules, all tools)."""
    for path in _nulls(merged.value, ()):
        yield merged.problem(path, "the key has no value", "a value, or not this key", at_key=True)


def _nulls(value: Any, at: Path) -> Iterator[Path]:
    if value is None:
        if at:
            yield at
    elif any(_within(at, pattern) for pattern in _NULLABLE):
        return
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _nulls(below, (*at, name))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _nulls(below, (*at, index))


def _within(path: Path, pattern: Sequence[str]) -> bool:
    """Return True when a path matches all but the last step of a pattern, so that null is a value below it."""
    above = pattern[:-1]
    return len(path) == len(above) and all(step in ("*", part) for step, part in zip(above, path, strict=True))
