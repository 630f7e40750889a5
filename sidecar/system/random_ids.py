"""Random ids from the operating system's generator, read many at a time: a system call for each costs more than the id.

A process that forks would share the ids that are left with its child; the sidecar does not fork while it serves.
"""

from __future__ import annotations

import os
from typing import Final

_BLOCK: Final = 256  # ids of one read
_SIZE: Final = 16  # bytes of an id

_ids: list[str] = []


def random_id() -> str:
    """Return 128 random bits as 32 hexadecimal digits; any part of them is as random."""
    try:
        return _ids.pop()
    except IndexError:
        digits = os.urandom(_BLOCK * _SIZE).hex()
        _ids.extend([digits[start : start + 2 * _SIZE] for start in range(0, len(digits), 2 * _SIZE)])
        return _ids.pop()
