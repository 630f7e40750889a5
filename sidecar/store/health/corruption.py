"""Describe corrupt records for operators: key and field, never the value.

Scripts report corrupt fields themselves (`MALFORMED`, see `lua/checked.lua`). For a key of the wrong type the server
does not name the key, so the types of the command's keys are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from sidecar.store.commands.command import Command, text
from sidecar.store.commands.keys import kind_of, place_of
from sidecar.store.connection.resp import RejectedError, StoreError

CORRUPTION_CODES: Final = frozenset({"MALFORMED", "WRONGTYPE"})
"""Error replies of scripts that found a corrupt record, and have changed nothing."""


class CorruptionError(StoreError):
    """A stored record does not match the layout; the message names it. Nothing was changed."""


async def describe_corruption(
    send: Callable[..., asyncio.Future[Any]], command: Command, error: RejectedError
) -> RejectedError | CorruptionError:
    """Return the error to raise for an error reply of a script: the same one unless a record is corrupt.

    Args:
        send: sends one command and returns its reply.
        command: command that was run.
        error: error reply of the server.

    Raises:
        StoreError: the store has become unreachable.
    """
    if error.code not in CORRUPTION_CODES:
        return error
    if error.code == "MALFORMED":
        found = sentence(error)
    else:
        asked = [(key, send("TYPE", key)) for key in dict.fromkeys(command.keys)]
        types = [(key, text(await reply)) for key, reply in asked]
        wrong = [
            f"{place_of(key)} is a {kind}, not a {kind_of(key)}"
            for key, kind in types
            if kind not in ("none", kind_of(key))
        ]
        found = " and ".join(wrong) or "a key has another type"
    return CorruptionError(f"a stored record of the account is corrupt: {found}; nothing was changed")


def sentence(error: RejectedError) -> str:
    """Return the script's words about a field, without the server's additions."""
    return str(error).removeprefix("MALFORMED ").partition(" script: ")[0]
