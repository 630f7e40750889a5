"""Scopes that imply others: expansion of a token's scopes, and the scopes that grant one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_EXPANDED: Final = 256
"""Sets of scopes whose expansion is kept: tokens of one client have the same scopes."""


@dataclass(frozen=True, slots=True)
class ScopeRule:
    """Declared scope."""

    name: str
    description: str
    implies: tuple[str, ...] = ()


class ScopeTree:
    """Declared scopes with the transitive closure of `implies`.

    Args:
        rules: the declared scopes, without a cycle (see `cycle`).
    """

    def __init__(self, rules: Mapping[str, ScopeRule]) -> None:
        self.rules = rules
        self._grants = {name: frozenset(_closure(name, rules)) for name in rules}
        self._granting = {
            name: (name, *(other for other in rules if other != name and name in self._grants[other])) for name in rules
        }

        self._order = {name: place for place, name in enumerate(rules)}
        self._expanded = lru_cache(MAX_EXPANDED)(self._expand)
        self._declared = lru_cache(MAX_EXPANDED)(self._in_order)

    def expand(self, scopes: Iterable[str]) -> frozenset[str]:
        """Return the scopes and all that they imply; undeclared ones imply nothing and remain."""
        return self._expanded(frozenset(scopes))

    def _expand(self, scopes: frozenset[str]) -> frozenset[str]:
        return scopes.union(*(self._grants[scope] for scope in scopes if scope in self._grants))

    def declared(self, scopes: frozenset[str]) -> tuple[str, ...]:
        """Return the declared ones of some scopes, in the order of the policy."""
        return self._declared(scopes)

    def _in_order(self, scopes: frozenset[str]) -> tuple[str, ...]:
        return tuple(sorted(filter(self._order.__contains__, scopes), key=self._order.__getitem__))

    def granting(self, scope: str) -> tuple[str, ...]:
        """Return the scope itself and every declared scope that implies it."""
        return self._granting[scope]


def cycle(rules: Mapping[str, ScopeRule]) -> tuple[str, ...] | None:
    """Return a chain of scopes that ends where it began; None without a cycle."""
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
