"""Load the scripts, and their functions where the server has them: on every new connection."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import orjson

from sidecar.store.commands.command import Script
from sidecar.store.commands.shipped import PERMISSIONS
from sidecar.store.connection.resp import RejectedError, Rewrite
from sidecar.store.connection.store_connection import Send

FUNCTIONS: Final = (("FCALL", "f", "0"), ("FUNCTION", "LOAD", "l"))
"""Commands that a user of the store need not be permitted: without them, calls run scripts."""


async def load_scripts(send: Send, scripts: Sequence[Script]) -> Rewrite:
    """Load scripts, and no function: a function is a part of what the store keeps.

    Args:
        send: sends one command and returns its reply.
        scripts: the scripts.

    Returns:
        What makes each command run its script.
    """
    for loaded in [send("SCRIPT", "LOAD", script.source) for script in scripts]:
        await loaded
    return partial(_without_functions, tuple(script for script in scripts if script.function is not None))


async def load(send: Send, scripts: Sequence[Script]) -> Rewrite | None:
    """Load scripts and their functions.

    Args:
        send: sends one command and returns its reply.
        scripts: the scripts.

    Returns:
        None when commands may call functions; otherwise what makes each command run its script: the user may not, or
        the server keeps nothing new now, for example because its memory is full.
    """
    as_scripts = await load_scripts(send, scripts)
    if not all(await send("EVALSHA", PERMISSIONS.sha, 0, *map(orjson.dumps, FUNCTIONS))):
        return as_scripts
    for library in {script.function.library for script in scripts if script.function is not None}:
        try:
            await send("FUNCTION", "LOAD", library)
        except RejectedError as error:
            if _EXISTS not in str(error):
                return as_scripts
    return None


_EXISTS: Final = "already exists"  # its name has its digest: it is the same


def _without_functions(scripts: Sequence[Script], command: bytes) -> bytes:
    for script in scripts:
        command = script.without_function(command)
    return command
