"""Changes between two versions of a declaration, as lines for the log: `+tool x`, `quota y day 5→10`.

The declarations are compared as the files have them, so that no key is forgotten here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sidecar.policy.rules import Policy

MAX_CHANGES: Final = 40
"""Lines of one list of changes."""
MAX_BYTES: Final = 2400
"""Bytes of one list of changes as ASCII JSON: a log line holds 4 KiB."""

_MAX_LINE: Final = 160  # characters of one change
_MAX_VALUE: Final = 60  # characters of one value
_SECTIONS: Final = {
    "scopes": "scope",
    "quotas": "quota",
    "credits": "credit",
    "plans": "plan",
    "tools": "tool",
    "resources": "resource",
    "prompts": "prompt",
    "methods": "method",
}
"""Sections whose keys are names, with the word for one entry."""
_ABSENT: Final = object()

Declared = Mapping[str, Any]


def policy_changes(before: Policy, after: Policy) -> Iterator[str]:
    """Yield the changes between two policies, section by section."""
    old, new = before.declared, after.declared
    for section, noun in _SECTIONS.items():
        yield from _entries(noun, old.get(section) or {}, new.get(section) or {})
    for key in _keys(old, new):
        if key not in _SECTIONS and key != "tests":
            yield from value_changes(key, old.get(key, _ABSENT), new.get(key, _ABSENT))
    yield from _tests(old.get("tests") or (), new.get("tests") or ())


def value_changes(name: str, old: Any, new: Any) -> Iterator[str]:
    """Yield the changes of one value: of a mapping key by key, of a list of words word by word.

    Args:
        name: its path, which begins each line.
        old: the value before.
        new: the value now.
    """
    if type(old) is type(new) and old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in _keys(old, new):
            yield from value_changes(f"{name} {key}", old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif old is _ABSENT:
        yield f"{name} added" if _is_large(new) else f"{name} added: {_shown(new)}"
    elif new is _ABSENT:
        yield f"{name} removed"
    elif _is_large(old) or _is_large(new):
        words = _words(old, new)
        yield f"{name} {words}" if words else f"{name} changed"
    else:
        yield f"{name} {_shown(old)}→{_shown(new)}"


def bounded(changes: Iterable[str]) -> tuple[str, ...]:
    """Return changes that fit a log line; the last one counts those that are left out."""
    kept: list[str] = []
    size = left_out = 0
    for change in changes:
        line = change if len(change) <= _MAX_LINE else f"{change[: _MAX_LINE - 1]}…"
        size += len(json.dumps(line)) + 1
        if left_out or len(kept) == MAX_CHANGES or size > MAX_BYTES:
            left_out += 1
        else:
            kept.append(line)
    return (*kept, f"and {left_out} more") if left_out else tuple(kept)


def _entries(noun: str, old: Declared, new: Declared) -> Iterator[str]:
    for name in _keys(old, new):
        if name not in old:
            yield f"+{noun} {name}"
        elif name not in new:
            yield f"-{noun} {name}"
        else:
            yield from value_changes(f"{noun} {name}", old[name], new[name])


def _tests(old: Iterable[Declared], new: Iterable[Declared]) -> Iterator[str]:
    before, after = ({str(test.get("name")): test for test in tests} for tests in (old, new))
    for name in _keys(before, after):
        if name not in before:
            yield f"+test {_shown(name)}"
        elif name not in after:
            yield f"-test {_shown(name)}"
        elif before[name] != after[name]:
            yield f"test {_shown(name)} changed"


def _keys(old: Declared, new: Declared) -> Iterable[str]:
    return dict.fromkeys((*old, *new))


def _words(old: Any, new: Any) -> str:
    """Return the words that a list lost and gained; empty for other values, and for another order."""
    lists = (old, new)
    if not all(isinstance(each, list | tuple) and all(isinstance(word, str) for word in each) for each in lists):
        return ""
    lost, gained = (word for word in old if word not in new), (word for word in new if word not in old)
    return " ".join((*(f"-{word}" for word in lost), *(f"+{word}" for word in gained)))


def _is_large(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple | set | frozenset)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 1]}…"
