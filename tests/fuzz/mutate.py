"""Mutate bytes at random, preferring the special characters of a format; a seed names a mutation."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

MOST: Final = 4096
"""Bytes of anything that is made: what is wrong is wrong in little, too."""


def mutated(
    random: Random, data: bytes, times: int, snippets: Sequence[bytes], others: Sequence[bytes] = (b"",)
) -> bytes:
    """Data with pieces put in, taken out, doubled, replaced, or taken from another input.

    Args:
        random: where all choices come from.
        data: what is changed.
        times: how many changes.
        snippets: what the format cares about.
        others: further inputs to take pieces from.
    """
    made = bytearray(data)
    for _ in range(times):
        at = random.randrange(len(made) + 1)
        to = min(len(made), at + random.choice((1, 1, 2, 8, 40)))
        match random.randrange(7):
            case 0 | 1:
                made[at:at] = random.choice(snippets)
            case 2:
                del made[at:to]
            case 3:
                made[at:at] = made[at:to]
            case 4:
                made[at:to] = bytes((random.randrange(256),))
            case 5:
                made[at:to] = random.choice(snippets)
            case _:
                other = random.choice(others)
                begin = random.randrange(len(other) + 1)
                made[at:to] = other[begin : begin + random.choice((4, 20, 200))]
    return bytes(made[:MOST])


def pieces(random: Random, data: bytes) -> list[bytes]:
    """Data as it may arrive: cut anywhere, sometimes into single bytes."""
    if random.random() < 0.2:
        return [bytes((byte,)) for byte in data]
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(6)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
