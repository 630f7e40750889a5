"""Tools that the sidecar answers itself: `serve: usage`, `connections` and `revoke_connection`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger import accounts
from sidecar.ledger.decoding import UnreadableError
from sidecar.management.connections import Connection, list_connections, revoke_connection
from sidecar.management.targets import Target
from sidecar.outcome import Event
from sidecar.policy.confirming.escaped_values import escaped
from sidecar.policy.serving.own_tools import CLIENT_ID, OwnTool
from sidecar.proxy.admit import Admitted
from sidecar.store.commands import changes
from sidecar.store.commands.keys import caller_keys
from sidecar.store.store import Store

MAX_CONNECTIONS: Final = 100
"""Most clients in one answer of `serve: connections`."""

MAX_ENTRIES: Final = 1_000
"""Entries of the journal that one such answer reads: a call must stay cheap, however often it is made."""

_NOT_CONNECTED: Final = (
    f"This user has no connected client with this {CLIENT_ID}; use one exactly as the list of connected clients has it."
)


async def served_result(store: Store, admitted: Admitted) -> Mapping[str, Any]:
    """Return the result of a call of a tool with `serve`, and charge the call.

    Raises:
        Refusal: `store_unavailable`, also when a stored record cannot be read; `arguments_refused`; as
            `Settlement.confirm`.
    """
    tool = admitted.decided.tool
    if tool is None or tool.serve is None:
        raise ValueError("the backend answers this call")
    return await _ANSWERS[tool.serve](store, admitted)


async def _usage(store: Store, admitted: Admitted) -> Mapping[str, Any]:
    """Return plan, status, quotas and credits; the amounts reserved by this call count as used."""
    parsed = admitted.decided.parsed
    reply = await store.run(changes.inspect(caller_keys(parsed.caller)))
    try:
        seen = changes.inspected(reply)
    except UnreadableError as fault:
        raise Refusal(ErrorCode.STORE_UNAVAILABLE, log=str(fault), retry_after=1) from fault
    await _charge(admitted)
    policy = parsed.received.snapshot.policy
    shown = accounts.usage(seen.state, policy.account_terms, seen.now)
    # A quota in shadow mode refuses nothing: to its account it is no limit.
    quotas = {name: windows for name, windows in shown["quotas"].items() if name not in policy.shadow_quotas}
    return {**shown, "quotas": quotas}


async def _connections(store: Store, admitted: Admitted) -> Mapping[str, Any]:
    caller = admitted.decided.parsed.caller
    target = Target(caller.issuer_id, caller.account)
    found = await list_connections(store, target, caller.subject, entries=MAX_ENTRIES)
    await _charge(admitted)
    shown = [_document(each, caller.client_id) for each in found[:MAX_CONNECTIONS]]
    return {"connections": shown, "more": max(0, len(found) - MAX_CONNECTIONS)}


async def _revoke_connection(store: Store, admitted: Admitted) -> Mapping[str, Any]:
    caller, client = admitted.decided.parsed.caller, admitted.decided.decision.arguments[CLIENT_ID]
    before = await revoke_connection(store, Target(caller.issuer_id, caller.account), caller.subject, client)
    if before is None:
        raise Refusal(ErrorCode.ARGUMENTS_REFUSED, _NOT_CONNECTED, specifics={"argument": CLIENT_ID})
    await _charge(admitted)
    return {CLIENT_ID: client, "status": "revoked", "was": _status(before)}


async def _charge(admitted: Admitted) -> None:
    admitted.settlement.resolve(Event.RESULT)
    await admitted.settlement.confirm()


def _document(connection: Connection, own: str) -> dict[str, Any]:
    """Return a client as a model and its user see it; a name is text that a stranger has chosen."""
    return {
        CLIENT_ID: connection.client_id,
        "name": None if connection.client_name is None else escaped(connection.client_name),
        "host": connection.host,
        "this_client": connection.client_id == own,
        "status": _status(connection),
        "since": _iso(connection.since),
        "scopes": None if connection.scopes is None else list(connection.scopes),
        "last_used": _iso(connection.last_used),
        "last_tool": connection.last_tool,
        "credits": dict(connection.credits or {}),
    }


def _status(connection: Connection) -> str:
    return "granted" if connection.granted else "revoked"


def _iso(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None  # another program wrote it


_ANSWERS: Final[Mapping[OwnTool, Callable[[Store, Admitted], Awaitable[Mapping[str, Any]]]]] = {
    OwnTool.USAGE: _usage,
    OwnTool.CONNECTIONS: _connections,
    OwnTool.REVOKE_CONNECTION: _revoke_connection,
}
