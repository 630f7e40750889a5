"""Threads of a regular expression: an upper bound of how many places a text can reach in it at once.

Two places are *together* when some text reaches both; this is found for every pair by walking both at once. Repeats
with many counts are walked with a few, and count in full where the text can be at two counts of one repeat at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from sidecar.policy.matching.pattern_syntax import (
    ALL,
    Choice,
    Letters,
    Node,
    Repeat,
    Sequence,
    Start,
    UnreadablePatternError,
    tree_of,
)

UNKNOWN: Final = 10**6
"""Threads of a pattern that is too large to be judged, or not read."""

_COPIES: Final = 3
_MOST_PLACES: Final = 250
_MOST_PAIRS: Final = 400_000  # pairs that are looked at


@lru_cache(maxsize=4096)
def threads_of(pattern: str) -> int:
    """Return the maximum number of threads of a pattern that the engine has compiled, or more."""
    try:
        tree = tree_of(pattern)
        if not _repeats(tree):
            return 1  # a text is read no further than the pattern is long, or with as many states
        return _Places(tree).threads()
    except (UnreadablePatternError, RecursionError, _TooLargeError):
        return UNKNOWN


class _TooLargeError(ValueError):
    """A pattern has too many places."""


class _Copy(NamedTuple):
    """Copy of a repeat that a place belongs to; it stands for `counts` of them."""

    repeat: int
    number: int
    counts: float


class _Part(NamedTuple):
    """Places of a part: those it can begin and end with."""

    nullable: bool
    first: frozenset[int]
    last: frozenset[int]


_NOTHING: Final = _Part(True, frozenset(), frozenset())


class _Places:
    """Places of one pattern (Glushkov's automaton)."""

    def __init__(self, tree: Node) -> None:
        self._letters: list[int] = []
        self._copies: list[tuple[_Copy, ...]] = []
        self._next: list[set[int]] = []
        self._within: tuple[_Copy, ...] = ()
        self._repeats = 0
        self._begin = set(self._part(tree).first)
        if not _is_anchored(tree):  # the search begins again at each character
            start = self._place(ALL)
            self._next[start] = self._begin | {start}
            self._begin.add(start)

    def threads(self) -> int:
        together = self._together()
        overlapping = {
            one.repeat
            for place, others in enumerate(together)
            for other in others
            for one, two in zip(self._copies[place], self._copies[other], strict=False)
            if one.repeat == two.repeat and one.number != two.number
        }
        weights = []
        for copies in self._copies:
            weight = 1.0
            for copy in copies:
                weight *= copy.counts if copy.repeat in overlapping else 1.0
            weights.append(weight)
        return round(max((sum(weights[each] for each in others) for others in together), default=0))

    def _together(self) -> list[set[int]]:
        """Return for each place the places that a text can reach together with it."""
        found: list[set[int]] = [set() for _ in self._letters]
        ahead: list[tuple[int, int]] = []

        def meet(ones: set[int], others: set[int]) -> None:
            for one in ones:
                letters, known = self._letters[one], found[one]
                for other in others:
                    if other not in known and letters & self._letters[other]:
                        known.add(other)
                        found[other].add(one)
                        ahead.append((one, other))

        meet(self._begin, self._begin)
        looked = 0
        while ahead:
            one, other = ahead.pop()
            looked += len(self._next[one]) * len(self._next[other])
            if looked > _MOST_PAIRS:
                raise _TooLargeError
            meet(self._next[one], self._next[other])
        return found

    def _place(self, letters: int) -> int:
        if len(self._letters) >= _MOST_PLACES:
            raise _TooLargeError
        self._letters.append(letters)
        self._copies.append(self._within)
        self._next.append(set())
        return len(self._letters) - 1

    def _part(self, node: Node) -> _Part:
        if isinstance(node, Letters):
            place = frozenset((self._place(node.mask),))
            return _Part(False, place, place)
        if isinstance(node, Start):
            return _NOTHING
        if isinstance(node, Choice):
            parts = [self._part(each) for each in node.parts]
            first = frozenset[int]().union(*(part.first for part in parts))
            last = frozenset[int]().union(*(part.last for part in parts))
            return _Part(any(part.nullable for part in parts), first, last)
        if isinstance(node, Sequence):
            return self._chain([self._part(each) for each in node.parts])
        return self._repeated(node)

    def _chain(self, parts: list[_Part]) -> _Part:
        whole = _NOTHING
        for part in parts:
            self._link(whole.last, part.first)
            first = whole.first | part.first if whole.nullable else whole.first
            last = whole.last | part.last if part.nullable else part.last
            whole = _Part(whole.nullable and part.nullable, first, last)
        return whole

    def _link(self, last: frozenset[int], first: frozenset[int]) -> None:
        for place in last:
            self._next[place] |= first

    def _repeated(self, node: Repeat) -> _Part:
        counts = max(node.least, 1) if node.most is None else node.most
        if not counts:
            return _NOTHING
        number = min(counts, _COPIES)
        required = number if node.least == counts else min(node.least, number - 1)
        outer, repeat = self._within, self._repeats
        self._repeats += 1
        whole, last = _NOTHING, frozenset[int]()
        for copy in range(number):
            if number > 1:
                self._within = (*outer, _Copy(repeat, copy, counts / number))
            part = self._part(node.part)
            whole = self._chain([whole, part])
            if copy + 1 >= required:  # the rest may be left out from here on
                last |= whole.last
        self._within = outer
        if node.most is None:
            self._link(part.last, part.first)
        return _Part(whole.nullable or not node.least, whole.first, last)


def _repeats(node: Node) -> bool:
    if isinstance(node, Repeat):
        return node.most is None or node.most > 1 or _repeats(node.part)
    return isinstance(node, Sequence | Choice) and any(map(_repeats, node.parts))


def _is_anchored(node: Node) -> bool:
    """Return True when every match begins at the start of the text."""
    if isinstance(node, Sequence):
        return bool(node.parts) and _is_anchored(node.parts[0])
    if isinstance(node, Choice):
        return all(map(_is_anchored, node.parts))
    return isinstance(node, Start)
