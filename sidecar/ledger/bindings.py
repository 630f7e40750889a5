"""Whose sessions and tasks are: commands that bind them to their callers, and how their answers read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from sidecar.ledger.command import Command
from sidecar.ledger.keys import caller_keys, consent_digest
from sidecar.ledger.scripts import BINDING
from sidecar.model import Caller

BINDING_LIFE: Final = 86_400
"""Seconds that the binding of a session or task lives without being used."""

TASK_LIFE_MOST: Final = 30 * 86_400
"""Seconds that a task stays bound without being used when the backend keeps it so long."""


SESSIONS_MOST: Final = 1_000
"""Sessions that an account has at one time; beyond, the oldest is ended and its client initializes again."""

TASKS_MOST: Final = 10_000
"""Tasks that stay bound to the callers of an account at one time."""


def bind_session(caller: Caller, session: str) -> Command:
    """Make a session the caller's; `owned` says no when it is somebody else's already."""
    return _sessions("bind", caller, (session,))


def end_session(caller: Caller, session: str) -> Command:
    """End a session, if it is the caller's."""
    return _sessions("end", caller, (session,))


def touch(caller: Caller, session: str | None, tasks: Sequence[str]) -> Command:
    """Ask which are the caller's, the session first; those live on. `owned` reads the answer."""
    keys = caller_keys(caller)
    sessions = () if session is None else (keys.session(session),)
    return _binding("touch", caller, keys.sessions, (*sessions, *map(keys.task, tasks)), SESSIONS_MOST)


def bind_tasks(caller: Caller, tasks: Sequence[str], lifetime: float) -> Command:
    """Make tasks the caller's, all or, when one of them is somebody else's, none; `owned` reads the answer.

    Args:
        caller: whose they will be.
        tasks: their ids.
        lifetime: seconds that the backend keeps them: they stay bound as long, within limits.
    """
    keys = caller_keys(caller)
    seconds = math.ceil(min(max(lifetime, BINDING_LIFE), TASK_LIFE_MOST))
    return _binding("bind", caller, keys.tasks, tuple(map(keys.task, tasks)), TASKS_MOST, seconds)


def _sessions(verb: str, caller: Caller, sessions: Sequence[str]) -> Command:
    keys = caller_keys(caller)
    return _binding(verb, caller, keys.sessions, tuple(map(keys.session, sessions)), SESSIONS_MOST)


def _binding(
    verb: str, caller: Caller, listed: str, keys: tuple[str, ...], most: int, seconds: int = BINDING_LIFE
) -> Command:
    binding = consent_digest(caller.subject, caller.client_id)
    return Command(BINDING, (listed, *keys), (verb, binding, caller.subject, caller.client_id, seconds, most))


def owned(reply: Any) -> list[bool]:
    """Which of them are the caller's, in the order they were asked for."""
    return [flag == 1 for flag in reply]
