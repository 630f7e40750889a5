"""Redaction for log lines: fields cut to size, and free text without anything that could be a secret.

The fields of a line are chosen one by one (`record`), so none holds a secret. This module is for error
messages, which may quote the input.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "[hidden]"

# The query string or userinfo of a URL may hold any client data.
_QUERY: Final = re.compile(r"(?<=[^\s?])\?[^\s\"'<>]+")
_USERINFO: Final = re.compile(r"(?<=://)[^\s/@]+@")
_SCHEME: Final = re.compile(r"\b(bearer|basic|dpop)\s+[^\s\"',;]+", re.IGNORECASE)
_HEADER: Final = re.compile(r"((?:proxy-)?authorization|(?:set-)?cookie2?)([\"']?\s*[=:]\s*)[^\r\n]+", re.IGNORECASE)
_NAMED: Final = re.compile(
    r"((?:token|secret|passw(?:or)?d|api[_-]?key|assertion|verifier)s?|(?<![\w ])code(?==))"
    r"([\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\r\n,;&]+)",
    re.IGNORECASE,
)
# A run of this length without a space, with letters and digits, is no word: a token, a key, a digest.
_RUN: Final = re.compile(r"[A-Za-z0-9_~+-]{24,}(?:[.=/][\w~+=-]*)*")
_FRAGMENT: Final = re.compile(r"#[^\s#=]*=\S+")  # of a redirection URL: RFC 6749 section 4.2.2 puts a token there
_JWT: Final = re.compile(r"\beyJ[\w-]*\.[\w-]*(?:\.[\w-]*)*")


def sentence(text: str, limit: int = 300) -> str:
    """Return free text for the log, without credentials, query strings or opaque runs, cut to `limit` characters."""
    text = text[: limit * 4]  # longer text is cut off below
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
    """Return an account, client or issuer id, without the query and userinfo of a URL."""
    if "://" in text and ("?" in text or "@" in text):
        text = _QUERY.sub(f"?{HIDDEN}", _USERINFO.sub(f"{HIDDEN}@", text))
    return cut(text, limit)


def operand(text: str, limit: int = 256) -> str:
    """Return a value that a check compared, such as an audience, for an operator to compare it with the config.

    Digits and letters remain: many providers have audiences such as `api://` and a GUID. JWTs, and the query, userinfo
    and parameters in the fragment of a URL are hidden.
    """
    text = text[: limit * 4]  # longer text is cut off below
    # Most values have none of these: to look for a character takes a twentieth of a regular expression.
    if "eyJ" in text:
        text = _JWT.sub(HIDDEN, text)
    if "#" in text:
        text = _FRAGMENT.sub(f"#{HIDDEN}", text)
    if "@" in text:
        text = _USERINFO.sub(f"{HIDDEN}@", text)
    if "?" in text:
        text = _QUERY.sub(f"?{HIDDEN}", text)
    return cut(text, limit)


def cut(text: str, limit: int) -> str:
    """Return at most `limit` characters; an ellipsis marks a cut."""
    return text if len(text) <= limit else text[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
