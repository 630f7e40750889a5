"""The refusal of an access token, with the value that was wrong and the accepted ones. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal

_MAX_VALUE: Final = 128
"""Characters of one value in a sentence."""
_MAX_ACCEPTED: Final = 5
"""Accepted values in a sentence."""


def invalid(
    reason: str, *, check: str = "form", found: object = None, accepted: Iterable[object] | None = None
) -> Refusal:
    """Return the refusal `token_invalid`.

    Args:
        reason: a clause without any part of the token, for the client and the log.
        check: the check that failed, such as `aud`; the log has it in `detail`.
        found: the value that was wrong, such as the token's `aud`; never the token or its signature.
        accepted: the values that the check accepts.
    """
    values = None if accepted is None else [shown(value) for value in accepted]
    clauses = [] if found is None else [f"found {shown(found)}"]
    if values is not None:
        more = f" and {len(values) - _MAX_ACCEPTED} more" if len(values) > _MAX_ACCEPTED else ""
        clauses.append(f"accepted {' or '.join(values[:_MAX_ACCEPTED]) or 'none'}{more}")
    explained = f"{reason} ({'; '.join(clauses)})" if clauses else reason
    specifics = {"check": check}
    if found is not None:
        specifics["found"] = shown(found)
    if values is not None:
        specifics["accepted"] = " ".join(values[:_MAX_ACCEPTED])
    return Refusal(
        ErrorCode.TOKEN_INVALID,
        f"The access token is not valid here: {explained}.",
        log=explained,
        specifics=specifics,
    )


def found_in(claims: Mapping[str, Any], name: str) -> object:
    """Return a member for `invalid(found=...)`: the text `null` for a null one, None without it."""
    return "null" if name in claims and claims[name] is None else claims.get(name)


def shown(value: object) -> str:
    """Return a value of a token or of the config as printable ASCII, cut to a short length."""
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError):
        text = type(value).__name__
    # Sliced before it is escaped: escaping a megabyte would cost more than the sentence is worth.
    escaped = text[:_MAX_VALUE].encode("ascii", "backslashreplace").decode()
    printable = "".join(each if " " <= each <= "~" else f"\\x{ord(each):02x}" for each in escaped)
    return printable if len(text) <= _MAX_VALUE and len(printable) <= _MAX_VALUE else f"{printable[:_MAX_VALUE]}..."
