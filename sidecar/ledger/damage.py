"""What a script found that it cannot work on, in words for the operator: which key and field, never a value.

Scripts say so themselves of fields (`MALFORMED`, see `lua/checked.lua`). Of a key of another type the server
says only that there is one, so the types of the command's keys are asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from sidecar.ledger.command import Command, text
from sidecar.ledger.keys import kind_of, place_of
from sidecar.ledger.wire import RejectedError, StoreError

DAMAGED: Final = frozenset({"MALFORMED", "WRONGTYPE"})
"""Error replies of scripts that met such a thing, and have changed nothing."""


class DamagedError(StoreError):
    """What is stored is not what the layout says; the message names it. Nothing was changed."""


async def explained(
    send: Callable[..., asyncio.Future[Any]], command: Command, error: RejectedError
) -> RejectedError | DamagedError:
    """The error to raise for an error reply of a script; the same one unless something is damaged.

    Args:
        send: sends one command and gives its reply.
        command: what was run.
        error: what the server answered.

    Raises:
        StoreError: the store cannot be asked any more.
    """
    if error.code not in DAMAGED:
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
    return DamagedError(f"what the store keeps of the account is damaged: {found}; nothing was changed")


def sentence(error: RejectedError) -> str:
    """What a script says of a field, without what the server adds to it."""
    return str(error).removeprefix("MALFORMED ").partition(" script: ")[0]
