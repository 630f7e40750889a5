"""Commands for logins and sessions of the account page, and the readers of their replies.

A pending login belongs to no account yet, so all are in one place. A session has the hash tag of its account.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sidecar.store.commands.command import Command, text
from sidecar.store.commands.keys import AccountKeys, digest
from sidecar.store.commands.shipped import LOGIN, PAGE_SESSION
from sidecar.store.connection.resp import Argument

LOGIN_LIFE: Final = 600
"""Seconds that a login may take, from the redirect to the issuer to the callback."""
MAX_LOGINS: Final = 10_000
"""Most pending logins of a store; above it, the oldest is dropped."""
SESSION_LIFE: Final = 1800
"""Seconds that a session of the page lasts, from its login."""
MAX_PAGE_SESSIONS: Final = 1_000
"""Most sessions of an account's holders; above it, the oldest ends."""

PENDING_LOGINS_KEY: Final = "mcp:logins:{pending}"
"""Hash of pending logins by the digests of their states; no account owns it."""
LOGIN_ENDS_KEY: Final = "mcp:logins:{pending}:ends"
"""Sorted set of the same digests, by the end of each login, in ms since the epoch."""


def begin_login(state: str, document: bytes) -> Command:
    """Keep a pending login.

    Args:
        state: the `state` of its authorization request.
        document: for the callback; bounded by the caller.
    """
    return _login("begin", state, document)


def take_login(state: str) -> Command:
    """Take a pending login, so that no second callback can; `taken_login` reads the reply."""
    return _login("take", state, b"")


def taken_login(reply: Any) -> bytes | None:
    """Return the document of a pending login; None when it is unknown, taken or expired."""
    return reply.encode() if isinstance(reply, str) else reply


def begin_page_session(keys: AccountKeys, session: str, subject: str, fields: Mapping[str, str]) -> Command:
    """Begin a session.

    Args:
        keys: of its account.
        session: its secret id, of which the store gets the digest.
        subject: its holder.
        fields: further fields of its record.
    """
    pairs = [word for field in {"subject": subject, **fields}.items() for word in field]
    return _session("begin", keys, session, subject, *pairs)


def find_page_session(keys: AccountKeys, session: str) -> Command:
    """Read a session; `found_page_session` reads the reply."""
    return _session("find", keys, session, "")


def found_page_session(reply: Any) -> dict[str, str]:
    """Return the fields of a session; none when it is unknown or has expired."""
    words = list(map(text, reply))
    return dict(zip(words[::2], words[1::2], strict=True))


def end_page_session(keys: AccountKeys, session: str) -> Command:
    """End a session; the reply is the number of ended ones."""
    return _session("end", keys, session, "")


def end_page_sessions(keys: AccountKeys, subject: str) -> Command:
    """End all sessions of one holder of an account; the reply is their number."""
    return _session("end_all", keys, "", subject)


def _login(verb: str, state: str, document: bytes) -> Command:
    arguments = (verb, digest(state), LOGIN_LIFE, MAX_LOGINS, document)
    return Command(LOGIN, (PENDING_LOGINS_KEY, LOGIN_ENDS_KEY), arguments)


def _session(verb: str, keys: AccountKeys, session: str, subject: str, *pairs: str) -> Command:
    arguments: tuple[Argument, ...] = (verb, subject, SESSION_LIFE, MAX_PAGE_SESSIONS, *pairs)
    return Command(PAGE_SESSION, (keys.login(session), keys.logins), arguments)
