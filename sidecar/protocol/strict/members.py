"""Members that are read by name, and refusal of names that another parser confuses with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.protocol.strict.folding import fold
from sidecar.protocol.strict.strictjson import dumps

POISONED: Final = (b"__proto__", b"constructor")
"""Names, in UTF-8, that unsafe merges in JavaScript backends do not treat as data."""
_POISONED: Final = frozenset(name.decode() for name in POISONED)


@dataclass(frozen=True, slots=True)
class Members:
    """Names that are read from one object, exact and folded.

    Attributes:
        names: the exact names.
        folded: the names as a lenient reader reads them.
        longest: characters of the longest folded name: a longer name is never confused with one.
        required: the name that must be present; None without one.
        accepted: names that need not be checked: those that are read, and others that clients often send.
    """

    names: frozenset[str]
    folded: frozenset[str]
    longest: int
    required: str | None
    accepted: frozenset[str]

    @classmethod
    def of(cls, *names: str, required: str | None = None, common: Iterable[str] = ()) -> Members:
        """Return these members, of which one may be required.

        Args:
            common: names that clients often send, which are not read.

        Raises:
            Refusal: one of these is refused.
        """
        read = frozenset(names if required is None else (*names, required))
        folded = frozenset(map(fold, read))
        made = cls(read, folded, max(map(len, folded), default=0), required, read)
        check_members(dict.fromkeys(common), made)
        return replace(made, accepted=read.union(common))

    def mistakable(self, name: str) -> bool:
        """Return whether a lenient reader confuses a different name with one of these."""
        return name not in self.names and len(name) <= self.longest and fold(name) in self.folded


def check_members(members: Mapping[str, Any], read: Members) -> None:
    """Refuse names that a lenient parser confuses with one that is read here.

    Raises:
        Refusal: `params_malformed`.
    """
    if members.keys() <= read.accepted:
        return
    for name in members:
        if name not in read.names and (name in _POISONED or read.mistakable(name)):
            raise malformed("A parameter's name is confusable with another one; use the exact name.")


def poisoned(value: object) -> bool:
    """Return whether an object in a document, at any depth, has a poisoned name.

    Args:
        value: from `strictjson`, in the form to forward.
    """
    # In JSON, a quote and a colon end a name; quotes within strings follow a backslash.
    text = dumps(value)
    return any(b'"%b":' % name in text for name in POISONED)


def malformed(detail: str) -> Refusal:
    """Return the refusal of parameters that are unreadable or ambiguous."""
    return Refusal(ErrorCode.PARAMS_MALFORMED, detail)
