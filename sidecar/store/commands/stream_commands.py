"""Commands for open and resumed streams, and the readers of their replies; commands of calls are in `scripts`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidecar.model import AdmissionCode, Caller, OnUnknown
from sidecar.store.commands.command import Command, text
from sidecar.store.commands.keys import AccountKeys, caller_keys
from sidecar.store.commands.shipped import FOLLOW, RECALL, REVOKED, STANDING
from sidecar.terms import ConsentMode


def follow(caller: Caller, resumed: str, events: Sequence[str]) -> Command:
    """Add the events of a resumed stream to its deferred call, so that it can be resumed too; 0 without such a call.

    Args:
        caller: owner of the session.
        resumed: `keys.event_digest` of the event that the stream was resumed from.
        events: `keys.event_digest` of its own events.
    """
    keys = caller_keys(caller)
    return Command(FOLLOW, (keys.holds, keys.requests), (resumed, *events))


def recall(caller: Caller, request: str, costs: bool, resumed: str = "") -> Command:
    """Find the deferred call that a response belongs to; `recalled` reads the reply.

    Args:
        caller: owner of the session.
        request: `keys.request_digest(session, request id)`.
        costs: whether the response is a result with a price.
        resumed: `keys.event_digest` of the event that its stream was resumed from; empty for none.
    """
    keys = caller_keys(caller)
    return Command(RECALL, (keys.holds, keys.requests), (request, int(costs), resumed))


def recalled(reply: Any) -> tuple[str, bytes, OnUnknown, bool] | None:
    """Return call id, context given to `defer`, `on_unknown`, and whether the stream is the call's own.

    None when there is nothing to settle.
    """
    return None if reply is None or reply == 0 else (text(reply[0]), reply[1], OnUnknown(text(reply[2])), reply[3] == 1)


def lapsed(reply: Any) -> bool:
    """Return whether the call's hold was released when its lease expired."""
    return bool(reply == 0)


def standing(keys: AccountKeys, callers: Sequence[tuple[str, str]], consent: ConsentMode) -> Command:
    """Check whether the streams of callers may stay open; `standings` reads the reply.

    Args:
        keys: keys of the account.
        callers: subject and client id of each caller.
        consent: consent mode of the policy.
    """
    records = [key for subject, client in callers for key in (keys.consent(subject, client), keys.client(client))]
    return Command(STANDING, (keys.account, keys.revocation, *records), (consent.value,))


def standings(reply: Any) -> tuple[list[AdmissionCode], str | None]:
    """Return the code of each caller, and the plan in the account's record, if it has one."""
    *codes, plan = reply
    return [AdmissionCode(code) for code in codes], text(plan) or None


def revoked(keys: AccountKeys, subject: str, client_id: str) -> Command:
    """Measure how many milliseconds ago the caller was revoked, on the store's clock; nil when it is not revoked."""
    return Command(REVOKED, (keys.consent(subject, client_id), keys.client(client_id), keys.revocation))
