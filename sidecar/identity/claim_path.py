"""Values of claims by path, and a memory of the configured paths that no token has had.

A path is dotted: `realm_access.roles` is the member `roles` of the claim `realm_access`. At each level the longest
name that exists is taken, because names may contain dots themselves (`https://example.com/roles`). Pure, except for
the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

ENOUGH: Final = 100
"""Verified tokens without a path, after which it is reported although their scopes were found elsewhere."""


def value_at(claims: Mapping[str, Any], path: str) -> object:
    """Return the value at a path; None when it is absent or null."""
    here, rest = claims, path
    while rest not in here:
        name = rest
        while name not in here:
            name, dot, _ = name.rpartition(".")
            if not dot:
                return None
        here, rest = here[name], rest[len(name) + 1 :]
        if not isinstance(here, Mapping):
            return None
    value: object = here[rest]
    return value


class UnmatchedPaths:
    """Configured scope paths of one issuer that no verified token has had yet; each is reported once.

    Args:
        paths: the configured paths; empty when the config names none.
        report: called with a path.

    Attributes:
        missed: the number of verified tokens without each of these paths.
    """

    def __init__(self, paths: Iterable[str], report: Callable[[str], None]) -> None:
        self.missed = dict.fromkeys(paths, 0)
        self._report = report

    def note(self, claims: Mapping[str, Any], *, scoped: bool) -> None:
        """Note the claims of a verified token; call it once per token, not per call.

        Args:
            claims: of a token that is verified, so that made-up tokens report nothing.
            scoped: False when the token has no declared scope: a path that it lacks is then reported at once.
        """
        if not self.missed:
            return
        for path in [path for path in self.missed if value_at(claims, path) is not None]:
            del self.missed[path]
        for path in list(self.missed):
            self.missed[path] += 1
            if not scoped or self.missed[path] >= ENOUGH:
                del self.missed[path]
                self._report(path)
