"""Tools that the sidecar answers itself: `serve: usage`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger import accounts
from sidecar.ledger.decoding import UnreadableError
from sidecar.outcome import Event
from sidecar.proxy.admit import Admitted
from sidecar.store.commands import changes
from sidecar.store.commands.keys import caller_keys
from sidecar.store.store import Store


async def usage(store: Store, admitted: Admitted) -> Mapping[str, Any]:
    """Return the result of `serve: usage`; the amounts reserved by this call count as used.

    Raises:
        Refusal: `store_unavailable`, also when the stored record cannot be read; as `Settlement.confirm`.
    """
    parsed = admitted.decided.parsed
    reply = await store.run(changes.inspect(caller_keys(parsed.caller)))
    try:
        seen = changes.inspected(reply)
    except UnreadableError as fault:
        raise Refusal(ErrorCode.STORE_UNAVAILABLE, log=str(fault), retry_after=1) from fault
    admitted.settlement.resolve(Event.RESULT)
    await admitted.settlement.confirm()
    policy = parsed.received.snapshot.policy
    shown = accounts.usage(seen.state, policy.account_terms, seen.now)
    # A quota in shadow mode refuses nothing: to its account it is no limit.
    quotas = {name: windows for name, windows in shown["quotas"].items() if name not in policy.shadow_quotas}
    return {**shown, "quotas": quotas}
