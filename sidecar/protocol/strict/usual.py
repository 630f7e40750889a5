r"""Fast reading of documents that need none of the complete rules of `strictjson`, which almost all clients send.

orjson keeps the last of repeated names and forgets how numbers were spelt. So a document that it reads and writes
again without a change repeats no name in an object, and all its numbers survive a round trip. The copy that is
compared is in lower case: then this is also true of names that differ only in case. It is without blanks, because
clients differ in them: no two tokens of a valid document merge without them, and an added or lost token would show.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from sidecar.protocol.strict.folding import MAX_NAME

LONGEST: Final = 16 * 1024
"""Bytes to read here at most: a document that turns out to be unusual is read a second time."""

_BLANKS: Final = b" \t\n\r"
_LOWER: Final = bytes(range(256)).lower()
# A name with an escape, a character beyond ASCII, or too many characters; what looks like one in an array is found,
# too, and costs no more than the complete reading. A name follows one of these characters, and a colon and a space
# precede values only. The quote comes first, because the search finds a constant quickly.
_UNUSUAL_NAME: Final = re.compile(
    rb'"(?<=[{, \t\n\r]")(?<!: ")'  # where a name begins
    rb'(?![^"\\\x80-\xff]{0,%d}+")'  # it is not a usual one
    rb'(?:[^"\\]++|\\.)*+"[ \t\n\r]*+:' % MAX_NAME,
    re.DOTALL,
)
# An exponent that is in lower case in the copy; also found in texts.
_CAPITAL_EXPONENT: Final = re.compile(rb"E(?<=[0-9]E)[-+0-9]")


def read_usual(body: bytes) -> tuple[Any, bytes] | None:
    """Return the value of a usual document, and its copy in lower case without blanks; None for every other one.

    A usual document is one that the complete rules accept and read in one form, with names of ASCII and no escapes.

    Args:
        body: at most `LONGEST` bytes, nested at most as deep as the complete rules accept.
    """
    folded = body.translate(_LOWER, _BLANKS)
    try:
        if orjson.dumps(orjson.loads(folded)) != folded:
            return None
        value = orjson.loads(body)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    # Most documents are too short and too plain for such a name, which is cheaper to find out (and `find` than `in`).
    if (body.find(b"\\") >= 0 or len(body) > MAX_NAME or not body.isascii()) and _UNUSUAL_NAME.search(body):
        return None
    if body.find(b"E") >= 0 and _CAPITAL_EXPONENT.search(body):
        return None
    return value, folded
