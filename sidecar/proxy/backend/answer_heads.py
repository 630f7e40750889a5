"""The head of the backend's last usual answer: until its `Date` changes, most answers have the same but their length.

A usual answer is a 200 that arrives whole, with a `Content-Length`, on a connection that stays open. One whose head
the parser has accepted before, but for the digits of its length, is not parsed again.
"""

from __future__ import annotations

from typing import Final

from sidecar.protocol.headers import LENGTH_DIGITS, length_digits
from sidecar.proxy.backend.answer import Fields

_LONGEST: Final = 4096  # bytes of a head that is remembered
_END: Final = b"\r\n\r\n"
# Framed otherwise; and what is of one caller stays in memory no longer than its answer.
_PASSING: Final = frozenset({b"transfer-encoding", b"set-cookie", b"mcp-session-id"})
_NONE: Final = b"\0"  # no answer begins so


class KnownAnswers:
    """One head, of any connection to the backend."""

    __slots__ = ("_after", "_before", "_digits", "_fields")

    def __init__(self) -> None:
        self._before, self._after = _NONE, b""
        self._digits = 0
        self._fields: Fields = {}

    def read(self, data: bytes) -> tuple[Fields, bytes] | None:
        """Return headers and body of a whole answer with the head that is known; None for any other bytes.

        Args:
            data: the first bytes of an answer.
        """
        if not data.startswith(self._before):
            return None
        start = self._digits
        stop = data.find(b"\r", start, start + LENGTH_DIGITS + 1)
        if not data.startswith(self._after, stop):
            return None
        digits, end = data[start:stop], stop + len(self._after)
        if not digits.isdigit() or int(digits) != len(data) - end:
            return None
        return {**self._fields, b"content-length": digits}, data[end:]

    def remember(self, data: bytes, fields: Fields, size: int) -> None:
        """Keep the head of an answer that the parser has found to be usual, but for its length.

        Args:
            data: all that arrived of it.
            fields: its headers, names in lower case.
            size: bytes of its body by its length.
        """
        if b"content-length" not in fields or not _PASSING.isdisjoint(fields):
            return
        end = data.find(_END, 0, _LONGEST) + len(_END)
        if end < len(_END) or end + size != len(data):  # an interim answer came first, or there is more
            return
        digits = length_digits(data, end)
        if digits is not None:
            start, stop = digits
            self._before, self._after, self._digits, self._fields = data[:start], data[stop:end], start, fields
