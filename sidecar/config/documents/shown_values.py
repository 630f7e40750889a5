"""Values as problems show them: short, printable, and never a secret.

A config can hold secrets: the values of its `${...}`, headers, passwords in URLs. A policy holds none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_Path = tuple[str | int, ...]

_MAX: Final = 60
_SECRET_KEY: Final = re.compile(r"headers|.*(?:secret|password|passphrase|token|api_?key|credential).*", re.IGNORECASE)
_STORE: Final = ("store", "url")
_DEFAULT: Final = re.compile(r"\$\{([^{}:]*):-[^{}]*\}")


def shown(value: Any) -> str:
    """Return a scalar as written in YAML, cut to 60 characters; empty for another value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _cut(f"{value}")
    return repr(_cut(value)) if isinstance(value, str) else ""


def shown_in_config(path: _Path, value: Any, written: Mapping[_Path, str]) -> str:
    """Return a scalar of a config; empty for one that may be secret.

    A value that consists of one `${NAME}` is shown as that, without its default.

    Args:
        path: its path.
        value: the scalar.
        written: texts before the substitution, by their paths.
    """
    is_store = path == _STORE and ":" in str(value)
    if is_store or any(isinstance(part, str) and _SECRET_KEY.fullmatch(part) for part in path):
        return ""
    if any(path[:length] in written for length in range(1, len(path))):
        return ""  # within an alias of something substituted
    if path in written:
        return _cut(_DEFAULT.sub(r"${\1}", written[path])) if _is_reference(written[path]) else ""
    if not isinstance(value, str):
        return shown(value)
    if "@" in value or not value.isprintable():
        return ""  # a password in a URL, or the content of a file where its path belongs
    url, question, _ = value.partition("?")
    return shown(f"{url}?…" if question and "://" in url else value)


def _is_reference(text: str) -> bool:
    return text.startswith(("${", "*")) and text.find("}") in (-1, len(text) - 1)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX else f"{text[:_MAX]}…"
