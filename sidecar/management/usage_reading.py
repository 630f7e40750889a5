"""Used and remaining amounts of an account."""

from __future__ import annotations

from typing import Any

from sidecar.ledger import accounts
from sidecar.management.failures import FailureCode, ManagementError
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.policy.rules import Policy
from sidecar.store.commands.changes import Inspection


async def read_usage(store: OperatorStore, target: Target) -> Inspection:
    """Read an account that the store has any data of.

    An account of the default plan has no record of its own but may have usage.

    Raises:
        ManagementError: `account_unknown`: the store has no data of it, so that its name may be misspelt.
    """
    seen = await store.inspect(target)
    state = seen.state
    traces = (state.balances, state.quotas, state.included, state.holds, state.unreadable)
    if not seen.known and not any(traces) and not await store.record(target.keys.account):
        raise ManagementError(FailureCode.ACCOUNT_UNKNOWN, f"the store has no data of account {target}")
    return seen


def usage_of(seen: Inspection, policy: Policy) -> dict[str, Any]:
    """Return `{plan, status, quotas, credits}`, with every pool of the policy."""
    usage = accounts.usage(seen.state, policy.account_terms, seen.now)
    empty = {pool: {"left": 0, "balance": 0, "held": 0} for pool in policy.credits if pool not in usage["credits"]}
    return {**usage, "credits": {**usage["credits"], **empty}}
