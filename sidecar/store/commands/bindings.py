"""Commands that bind sessions and tasks to their callers and claim their ids, and the readers of their replies.

A binding has the hash tag of its account, so that the script of a call can read it. A claim has a tag of the id
itself, and keeps a second account from an id that the backend has already issued.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from sidecar.model import Caller
from sidecar.outcome import Bound, Eviction
from sidecar.store.commands.command import Command, text
from sidecar.store.commands.keys import caller_keys, claim_key, consent_digest
from sidecar.store.commands.shipped import BINDING, CLAIM

BINDING_LIFE: Final = 86_400
"""Seconds until an unused binding of a session or task expires."""

MAX_TASK_LIFE: Final = 30 * 86_400
"""Most seconds until an unused binding of a task expires, for tasks that the backend keeps long."""

CLAIM_MARGIN: Final = 7_200
"""Seconds that a claim outlives its binding, so that it is not renewed at every use."""

MAX_SESSIONS: Final = 1_000
"""Most sessions of an account; above it, the least recently used is evicted, and its client must re-initialize."""

MAX_TASKS: Final = 10_000
"""Most bound tasks of an account."""

CALLER_SHARE: Final = 2
"""Share of the account's limit for one subject and client: 1/2."""


def bind_session(caller: Caller, session: str, modes: str = "") -> Command:
    """Bind a session to its caller; `owned` returns False when it is bound to another caller of the account.

    Args:
        caller: the caller that began it.
        session: its id.
        modes: modes in which its client can ask its user (`elicitation.written_modes`).
    """
    return _sessions("bind", caller, (session,), modes)


def end_session(caller: Caller, session: str) -> Command:
    """End a session, if it is the caller's."""
    return _sessions("end", caller, (session,))


def touch(caller: Caller, session: str | None, tasks: Sequence[str]) -> Command:
    """Check which of these belong to the caller, the session first, and extend their lives; `owned` reads the reply."""
    return _used("touch", caller, () if session is None else (session,), tasks)


def session_modes(caller: Caller, session: str) -> Command:
    """Read the modes of `bind_session`, and extend the session's life; `modes_of` reads the reply."""
    return _sessions("modes", caller, (session,))


def listen(caller: Caller, sessions: Sequence[str], tasks: Sequence[str] = ()) -> Command:
    """Mark sessions or tasks as having an open stream or call, so that they are evicted last for the next minute."""
    return _used("listen", caller, sessions, tasks)


def bind_tasks(caller: Caller, tasks: Sequence[str], lifetime: float) -> Command:
    """Bind tasks to their caller, or none of them when one is bound to another caller; `owned` reads the reply.

    Args:
        caller: the caller that started them.
        tasks: ids of the tasks.
        lifetime: seconds that the backend keeps them: they stay bound as long, within limits.
    """
    keys = caller_keys(caller)
    return _binding("bind", caller, keys.tasks, tuple(map(keys.task, tasks)), MAX_TASKS, _task_life(lifetime))


def claim(kind: Bound, caller: Caller, name: str, lifetime: float = 0) -> Command:
    """Claim an id for its caller, or renew the claim; `claimed` reads the reply.

    Args:
        kind: kind of the id.
        caller: the caller that received it.
        name: the id.
        lifetime: seconds that the backend keeps the task, as for `bind_tasks`.
    """
    seconds = CLAIM_MARGIN + (_task_life(lifetime) if kind is Bound.TASK else BINDING_LIFE)
    account, consent = caller_keys(caller).digest, consent_digest(caller.subject, caller.client_id)
    owner = (caller.issuer_id, caller.account, caller.subject, caller.client_id)
    return Command(CLAIM, (claim_key(kind, name),), ("claim", account, consent, seconds, *owner))


def drop_claim(key: str, account: str, consent: str = "") -> Command:
    """Drop the claim of an id after its binding has ended, if the claim belongs to the caller.

    Args:
        key: key of the claim.
        account: digest of the account.
        consent: digest of subject and client id; empty for any caller of the account.
    """
    return Command(CLAIM, (key,), ("drop", account, consent))


def _task_life(lifetime: float) -> int:
    return math.ceil(min(max(lifetime, BINDING_LIFE), MAX_TASK_LIFE))


def end_tasks(caller: Caller, tasks: Sequence[str]) -> Command:
    """End those of the tasks that belong to the caller."""
    keys = caller_keys(caller)
    return _binding("end", caller, keys.tasks, tuple(map(keys.task, tasks)), MAX_TASKS)


def _sessions(verb: str, caller: Caller, sessions: Sequence[str], modes: str = "") -> Command:
    keys = caller_keys(caller)
    return _binding(verb, caller, keys.sessions, tuple(map(keys.session, sessions)), MAX_SESSIONS, modes=modes)


def _used(verb: str, caller: Caller, sessions: Sequence[str], tasks: Sequence[str]) -> Command:
    keys = caller_keys(caller)
    used = (*map(keys.session, sessions), *map(keys.task, tasks))
    return _binding(verb, caller, keys.sessions, used, MAX_SESSIONS)


def _binding(
    verb: str,
    caller: Caller,
    listed: str,
    keys: tuple[str, ...],
    most: int,
    seconds: int = BINDING_LIFE,
    modes: str = "",
) -> Command:
    consent = consent_digest(caller.subject, caller.client_id)
    owner = (consent, caller.subject, caller.client_id)
    limits = (seconds, most, most // CALLER_SHARE)
    return Command(BINDING, (listed, f"{listed}:{consent}", *keys), (verb, *owner, *limits, modes))


def owned(reply: Any) -> list[bool]:
    """Return, in the order of the command, whether each belongs to the caller."""
    return [flag == 1 for flag in reply[0]]


def modes_of(reply: Any) -> str | None:
    """Return the modes of a session; None when it is not the caller's."""
    if not owned(reply)[0]:
        return None
    return text(reply[2]) if len(reply) > 2 else ""


def evicted(kind: Bound, reply: Any) -> list[Eviction]:
    """Return the sessions or tasks that were evicted."""
    return [Eviction(kind, *map(text, each)) for each in reply[1]]


def claimed(reply: Any) -> bool:
    """Return whether the id belongs to the caller."""
    return reply in (1, 2)


def claimed_now(reply: Any) -> bool:
    """Return whether this command was the first to claim the id."""
    return bool(reply == 2)
