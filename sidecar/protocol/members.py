"""Members that are read by their names, and the refusal of those that another parser takes for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.protocol.strictjson import fold

# Keys that unsafe merges in JavaScript backends turn into something else than data.
_POISONED: Final = frozenset({"__proto__", "constructor"})


@dataclass(frozen=True, slots=True)
class Members:
    """The names that are read of one object, as they are and as `fold` sees them."""

    names: frozenset[str]
    folded: frozenset[str]
    required: str | None

    @classmethod
    def of(cls, *names: str, required: str | None = None) -> Members:
        """These members; one of them may have to be there."""
        read = frozenset(names if required is None else (*names, required))
        return cls(read, frozenset(map(fold, read)), required)


def check_members(members: Mapping[str, Any], read: Members) -> None:
    """Refuse names that a lenient parser takes for one that is read here.

    Raises:
        Refusal: `params_malformed`.
    """
    for name in members:
        if name not in read.names and (name in _POISONED or fold(name) in read.folded):
            raise malformed("A parameter's name could be taken for another one.")


def poisoned(value: object) -> bool:
    """Whether an object at any depth has a poisoned name; the depth is bounded by the parser."""
    if isinstance(value, dict):
        return not _POISONED.isdisjoint(value) or any(map(poisoned, value.values()))
    return isinstance(value, list) and any(map(poisoned, value))


def malformed(detail: str) -> Refusal:
    """Parameters that cannot be read, or can be read in two ways."""
    return Refusal(ErrorCode.PARAMS_MALFORMED, detail)
