"""What may stand in a log line: fields cut to size, and free text without anything that could be a secret.

The fields of a line are chosen one by one (`record`), so nothing secret has a place there. This is
for the rest: sentences about what went wrong, which may quote what was being read.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "[hidden]"

# A query string or userinfo of a URL may hold anything a client put there.
_QUERY: Final = re.compile(r"(?<=[^\s?])\?[^\s\"'<>]+")
_USERINFO: Final = re.compile(r"(?<=://)[^\s/@]+@")
_SCHEME: Final = re.compile(r"\b(bearer|basic|dpop)\s+[^\s\"',;]+", re.IGNORECASE)
_HEADER: Final = re.compile(r"((?:proxy-)?authorization|(?:set-)?cookie2?)([\"']?\s*[=:]\s*)[^\r\n]+", re.IGNORECASE)
_NAMED: Final = re.compile(
    r"((?:token|secret|passw(?:or)?d|api[_-]?key|assertion|verifier)s?|(?<![\w ])code(?==))"
    r"([\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\r\n,;&]+)",
    re.IGNORECASE,
)
# A run this long without a space, with letters and digits, is no word: a token, a key, a digest.
_RUN: Final = re.compile(r"[A-Za-z0-9_~+-]{24,}(?:[.=/][\w~+=-]*)*")
_JWT: Final = re.compile(r"\beyJ[\w-]*\.[\w-]*(?:\.[\w-]*)*")


def sentence(text: str, limit: int = 300) -> str:
    """Free text for the log: no credentials, query strings or opaque runs; at most `limit` characters."""
    text = text[: limit * 4]  # what is cut away below need not be searched
    text = _JWT.sub(HIDDEN, text)
    text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
    text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    text = _NAMED.sub(rf"\1\2{HIDDEN}", text)
    text = _USERINFO.sub(f"{HIDDEN}@", text)
    text = _QUERY.sub(f"?{HIDDEN}", text)
    return cut(_RUN.sub(_opaque, text), limit)


def _opaque(run: re.Match[str]) -> str:
    text = run[0]
    return HIDDEN if any(map(str.isdigit, text)) and any(map(str.isalpha, text)) else text


def identifier(text: str, limit: int = 256) -> str:
    """An account, client or issuer id: whole, but for the query and userinfo of one that is a URL."""
    if "://" in text and ("?" in text or "@" in text):
        text = _QUERY.sub(f"?{HIDDEN}", _USERINFO.sub(f"{HIDDEN}@", text))
    return cut(text, limit)


def cut(text: str, limit: int) -> str:
    """At most `limit` characters; the last one says that there were more."""
    return text if len(text) <= limit else text[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
