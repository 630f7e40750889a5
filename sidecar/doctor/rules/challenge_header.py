"""`WWW-Authenticate` as official MCP clients read it, and as RFC 9110 section 11.6.1 writes it.

The Python and the TypeScript SDK take the header as one text, want `Bearer` as its first word, and search for the first
`name=` anywhere. A challenge must mean the same to both kinds of reader.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a pattern, RFC 9110 section 5.6.2
_PARAMETER: Final = re.compile(rf'[ \t,]*({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))[ \t]*(?=,|$)')
_SCHEME: Final = re.compile(rf"[ \t,]*({_TOKEN})(?:[ \t]+|$)")
_END: Final = re.compile(r"[ \t,]*\Z")
READ: Final = ("resource_metadata", "scope", "error")
"""Parameters that clients read."""
MAX_HEADER: Final = 8 * 1024
"""Characters of a header that is read; many proxies refuse answers with longer ones."""


class ChallengeSyntaxError(ValueError):
    """Header that is no list of challenges."""


def first_scheme(header: str) -> str:
    """Return the first word, which clients compare with `Bearer`."""
    return header.split(" ")[0]


def as_clients_read(header: str, name: str) -> str | None:
    """Return a parameter as the official SDKs find it."""
    match = re.search(rf'{name}=(?:"([^"]+)"|([^\s,]+))', header)
    return None if match is None else match[1] or match[2]


def parse_first(header: str) -> dict[str, str]:
    """Return the parameters of the first challenge.

    Raises:
        ChallengeSyntaxError: the header is malformed, or a parameter is repeated.
    """
    scheme = _SCHEME.match(header)
    if scheme is None:
        raise ChallengeSyntaxError
    found: dict[str, str] = {}
    at = scheme.end()
    while not _END.match(header, at):
        match = _PARAMETER.match(header, at)
        if match is None:
            if found and _SCHEME.match(header, at):
                break  # the next challenge
            raise ChallengeSyntaxError
        name = match[1].lower()
        if name in found:
            raise ChallengeSyntaxError
        found[name] = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
        at = match.end()
    return found
