"""Request targets: paths by segment, percent-decoded once, and query parameters that each appear once.

A segment is split off before it is decoded, so an encoded slash is a part of a name and never of the path. Two
spellings of one path, such as `//` or dot segments, are refused and not repaired.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from sidecar.admin_api.api_problems import ApiCode, ApiProblem

MAX_TARGET: Final = 16_384
"""Characters of a target: two names of 2,048 characters, percent-encoded."""
MAX_PARAMETERS: Final = 16

_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_VISIBLE: Final = re.compile(r"[!-~]+")


def split_target(target: str) -> tuple[list[str], dict[str, str]]:
    """Return the decoded segments of a path, and the query parameters.

    Raises:
        ApiProblem: it is malformed.
    """
    if len(target) > MAX_TARGET or not target.startswith("/") or _VISIBLE.fullmatch(target) is None or "#" in target:
        raise ApiProblem(ApiCode.PATH_UNKNOWN)
    path, _, query = target.partition("?")
    segments = path[1:].split("/")
    if any(each in ("", ".", "..") for each in segments):
        raise ApiProblem(ApiCode.PATH_UNKNOWN)
    return [_decoded(each) for each in segments], _parameters(query)


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters of a query, in the form that browsers and `URLSearchParams` write (`+` is a blank)."""
    found: dict[str, str] = {}
    for pair in query.split("&", MAX_PARAMETERS) if query else ():
        name, _, value = pair.partition("=")
        name = _decoded(name.replace("+", " "))
        if name in found or len(found) == MAX_PARAMETERS:
            raise ApiProblem(ApiCode.PARAMETER_INVALID, "A parameter is given twice, or there are too many.")
        found[name] = _decoded(value.replace("+", " "))
    return found


def _decoded(text: str) -> str:
    if _BROKEN.search(text):
        raise ApiProblem(ApiCode.REQUEST_MALFORMED, "A percent sign is not followed by two hexadecimal digits.")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise ApiProblem(ApiCode.REQUEST_MALFORMED, "The target is not UTF-8.") from None
