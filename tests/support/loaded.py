"""Load the store's scripts and functions over a client of a test's own."""

from __future__ import annotations

import contextlib
from typing import Any

import redis

from sidecar.store.commands.command import Script
from sidecar.store.commands.shipped import ALL_SCRIPTS


def load_scripts(client: Any, *further: Script) -> None:
    """Load all scripts, and further ones; a library that is there already is the same."""
    for script in (*ALL_SCRIPTS, *further):
        for words in script.loads:
            with contextlib.suppress(redis.ResponseError) if words[0] == "FUNCTION" else contextlib.nullcontext():
                client.execute_command(*words)
