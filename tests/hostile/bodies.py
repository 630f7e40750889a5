"""Hostile and benign bytes of the same size."""

from __future__ import annotations

from collections.abc import Callable

SIZE = 400_000
"""Bytes of a body: enough for a quadratic reader to be hundreds of times slower."""

ABOVE, BELOW = "\u0301", "\u0323"
UNSORTED = ABOVE + BELOW
"""Marks that normalisation has to put in another order."""


def filled(piece: str, size: int = SIZE) -> str:
    """As many copies of an element as make a list of this size, without its brackets."""
    return ",".join([piece] * max(1, size // (len(piece.encode()) + 1)))


def listed(piece: str, size: int = SIZE) -> str:
    return f"[{filled(piece, size)}]"


def keyed(key: Callable[[int], str], value: str = "0", size: int = SIZE) -> str:
    """One object of this size; its keys are made from their numbers."""
    members: list[str] = []
    made = 0
    while made < size:
        member = f'"{key(len(members))}":{value}'
        members.append(member)
        made += len(member.encode()) + 1
    return f"{{{','.join(members)}}}"


def long_key(text: str, most: int = 1000) -> Callable[[int], str]:
    """Keys that begin with their number and go on with this text, up to so many bytes."""
    body = (text * most).encode()[: most - 8].decode(errors="ignore")
    return lambda number: f"{number}{body}"
