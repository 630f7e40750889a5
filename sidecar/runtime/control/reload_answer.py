"""Answer of a reload: the same for the log, the control socket and the command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, Self

from sidecar.config.settings.settings import Settings
from sidecar.observe.redact import cut
from sidecar.policy.comparison.declared_changes import value_changes

_PROBLEMS: Final = 200  # in one answer
_LONGEST: Final = 1000  # characters of one problem


class ReloadCause(StrEnum):
    """Reason of a reload."""

    SIGNAL = "signal"
    COMMAND = "command"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class ReloadAnswer:
    """Outcome of a reload.

    Attributes:
        ok: True when the new files are in force.
        revision: of the policy in force now.
        before: of the policy in force before.
        changes: lines such as `+tool x`; bounded.
        problems: the reasons of a refusal; bounded.
    """

    ok: bool
    revision: str
    before: str
    changes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def refused(cls, revision: str, problems: Iterable[str]) -> Self:
        """Build the answer of a reload that leaves everything as it was."""
        bounded = tuple(cut(problem, _LONGEST) for problem in problems)[:_PROBLEMS]
        return cls(False, revision, revision, problems=bounded)

    @property
    def document(self) -> dict[str, Any]:
        """The answer as JSON."""
        return asdict(self)


def settings_changes(before: Settings, after: Settings) -> Iterator[str]:
    """Yield the changed settings: numbers with their values, all others by key only, because they may be secret."""
    for name in Settings.model_fields:
        yield from _changes(f"config {name}", getattr(before, name), getattr(after, name))


def _changes(path: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    fields = getattr(type(old), "model_fields", None)
    if fields is not None and type(old) is type(new):
        for name in fields:
            yield from _changes(f"{path}.{name}", getattr(old, name), getattr(new, name))
    elif isinstance(old, int | float) and isinstance(new, int | float):
        yield from value_changes(path, old, new)
    else:
        yield f"{path} changed"
