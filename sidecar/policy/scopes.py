"""Scopes that imply others: what a token's scopes grant, and which scopes grant one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScopeRule:
    """One declared scope."""

    name: str
    description: str
    implies: tuple[str, ...] = ()


class ScopeTree:
    """All declared scopes with `implies` followed to its end.

    Args:
        rules: the declared scopes; `cycle` must have found none among them.
    """

    def __init__(self, rules: Mapping[str, ScopeRule]) -> None:
        self.rules = rules
        self._grants = {name: frozenset(_closure(name, rules)) for name in rules}
        self._granting = {
            name: (name, *(other for other in rules if other != name and name in self._grants[other])) for name in rules
        }

    def expand(self, scopes: Iterable[str]) -> frozenset[str]:
        """The scopes and all that they imply; undeclared ones imply nothing and stay."""
        expanded: set[str] = set()
        for scope in scopes:
            expanded |= self._grants.get(scope, {scope})
        return frozenset(expanded)

    def granting(self, scope: str) -> tuple[str, ...]:
        """The scope itself and every declared scope that implies it."""
        return self._granting[scope]


def cycle(rules: Mapping[str, ScopeRule]) -> tuple[str, ...] | None:
    """A chain of scopes that ends where it began; None when there is none."""
    for name in rules:
        path = _path_back(name, rules)
        if path:
            return path
    return None


def _closure(name: str, rules: Mapping[str, ScopeRule]) -> set[str]:
    found: set[str] = set()
    ahead = [name]
    while ahead:
        scope = ahead.pop()
        if scope not in found:
            found.add(scope)
            ahead += rules[scope].implies if scope in rules else ()
    return found


def _path_back(start: str, rules: Mapping[str, ScopeRule]) -> tuple[str, ...] | None:
    ahead: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while ahead:
        path = ahead.pop()
        for implied in rules[path[-1]].implies:
            if implied == start:
                return (*path, start)
            if implied in rules and implied not in seen:
                seen.add(implied)
                ahead.append((*path, implied))
    return None
