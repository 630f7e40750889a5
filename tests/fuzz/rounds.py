"""Rounds of a target: its corpus unchanged, then mutations of it, one seed after another."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import Target


@dataclass(frozen=True, slots=True)
class Found:
    """An input that broke a promise, or the reader.

    Attributes:
        origin: the kept input it was made of.
        seed: what made it, and cut it into pieces.
        why: the last lines of the traceback.
    """

    target: str
    origin: str
    seed: int
    data: bytes
    why: str

    def __str__(self) -> str:
        return f"{self.target}: {self.data!r}\n(seed {self.seed}, of {self.origin})\n{self.why}"


def replayed(target: Target, seed: int = 0) -> Iterator[Found]:
    """Every kept input, whole and cut in a few ways."""
    for name, data in target.corpus().items():
        for cut in range(seed, seed + 5):
            if found := tried(target, name, data, cut):
                yield found
                break


def fuzzed(target: Target, seeds: range) -> Iterator[Found]:
    """One made input a seed."""
    kept = list(target.corpus().items())
    others = [data for _, data in kept]
    for seed in seeds:
        random = Random(seed)
        name, data = random.choice(kept)
        made = mutated(random, data, random.choice((1, 1, 2, 3, 8)), target.snippets, others)
        if found := tried(target, name, made, seed):
            yield found


def tried(target: Target, origin: str, data: bytes, seed: int) -> Found | None:
    """Return the broken invariant of one input; None if all hold."""
    try:
        target.check(data, Random(seed))
    except Exception:  # noqa: BLE001 - whatever a reader raises is what is looked for
        return Found(target.name, origin, seed, data, "".join(traceback.format_exc().splitlines(keepends=True)[-8:]))
    return None


def smaller(target: Target, found: Found) -> Found:
    """The same trouble with as little input as can be found by leaving pieces out."""
    best, size = found, max(1, len(found.data) // 2)
    while size:
        at = 0
        while at < len(best.data):
            less = best.data[:at] + best.data[at + size :]
            again = tried(target, best.origin, less, best.seed)
            if again is not None and again.why.splitlines()[-1] == best.why.splitlines()[-1]:
                best = again
            else:
                at += size
        size //= 2
    return best
