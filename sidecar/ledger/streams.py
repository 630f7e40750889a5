"""What open and resumed streams ask of the store, as commands; what of calls there is, is in `scripts`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidecar.ledger.command import Command, text
from sidecar.ledger.keys import AccountKeys, caller_keys
from sidecar.ledger.scripts import FOLLOW, RECALL, STANDING
from sidecar.model import Caller, ConsentMode, OnUnknown


def follow(caller: Caller, resumed: str, events: Sequence[str]) -> Command:
    """Note that a stream which resumed a deferred call's can be resumed itself; answers 0 when it resumed none.

    Args:
        caller: whose session it is.
        resumed: `keys.event_digest` of the event that it was resumed from.
        events: the same of its own.
    """
    keys = caller_keys(caller)
    return Command(FOLLOW, (keys.holds, keys.requests), (resumed, *events))


def recall(caller: Caller, request: str, costs: bool, resumed: str = "") -> Command:
    """Ask for the deferred call that a response belongs to; `recalled` reads the answer.

    Args:
        caller: whose session it is.
        request: `keys.request_digest(session, request id)`.
        costs: whether the response is a result that costs something.
        resumed: `keys.event_digest` of the event that its stream was resumed from; empty for none.
    """
    keys = caller_keys(caller)
    return Command(RECALL, (keys.holds, keys.requests), (request, int(costs), resumed))


def recalled(reply: Any) -> tuple[str, bytes, OnUnknown, bool] | None:
    """The call's id, what was given to `defer`, its `on_unknown`, and whether the stream is the call's own.

    None when nothing is to be settled.
    """
    return None if reply is None else (text(reply[0]), reply[1], OnUnknown(text(reply[2])), reply[3] == 1)


def standing(keys: AccountKeys, callers: Sequence[tuple[str, str]], consent: ConsentMode) -> Command:
    """Ask whether callers of one account may go on; answers one `AdmissionCode` each.

    Args:
        keys: the account.
        callers: subject and client id of each.
        consent: the policy's mode.
    """
    records = [key for subject, client in callers for key in (keys.consent(subject, client), keys.client(client))]
    return Command(STANDING, (keys.account, *records), (consent.value,))
