"""Order of tests among workers: the longest ones begin first, each on another worker.

`--dist worksteal` gives each worker an equal part of the list, in its order. A test of several minutes that begins
last would run while the other workers have nothing left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

LONG: Final = 900.0
"""Seconds that a test may take by its own limit, from which its module is a long one."""

Test = TypeVar("Test")


def spread(
    tests: Sequence[Test], workers: int, module_of: Callable[[Test], str], seconds_of: Callable[[Test], float]
) -> list[Test]:
    """Return the tests in equal parts, one for each worker, which begin with the long modules in turn."""
    modules = list(dict.fromkeys(module_of(test) for test in tests if seconds_of(test) >= LONG))
    begins: list[list[Test]] = [[] for _ in range(workers)]
    for number, module in enumerate(modules):
        begins[number % workers] += [test for test in tests if module_of(test) == module]
    rest = [test for test in tests if module_of(test) not in modules]
    ordered: list[Test] = []
    for number, begin in enumerate(begins):
        size = (len(tests) - len(ordered)) // (workers - number)
        more = max(size - len(begin), 0)
        ordered += [*begin, *rest[:more]]
        rest = rest[more:]
    return [*ordered, *rest]
