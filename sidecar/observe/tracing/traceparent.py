"""The `traceparent` header of W3C Trace Context. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# Version 00 alone is understood, all-zero ids are invalid.
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED: Final = 1


class TraceParent(NamedTuple):
    """Caller's span, as its header names it.

    Attributes:
        trace_id: 32 hexadecimal digits.
        parent_id: 16 hexadecimal digits.
        flags: two hexadecimal digits.
    """

    trace_id: str
    parent_id: str
    flags: str

    @property
    def sampled(self) -> bool:
        """True when the caller records this trace."""
        return bool(int(self.flags, 16) & _SAMPLED)


def read_traceparent(text: str | None) -> TraceParent | None:
    """Read a header; None for a missing or an invalid one."""
    match = None if text is None else _TRACEPARENT.fullmatch(text)
    return None if match is None else TraceParent(match[1], match[2], match[3])
