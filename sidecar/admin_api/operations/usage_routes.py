"""Usage of an account, and its verification."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sidecar.admin_api.api_problems import ApiCode
from sidecar.admin_api.api_requests import ApiAnswer, ApiRequest
from sidecar.admin_api.api_schemas import IN_PATH, ISSUER
from sidecar.admin_api.route_table import Route
from sidecar.ledger.accounts import Hold
from sidecar.management.account_records import limits_by_field
from sidecar.management.journal_audit import verify_account
from sidecar.management.usage_reading import read_usage, usage_of


async def _usage(request: ApiRequest) -> ApiAnswer:
    target = request.target
    seen = await read_usage(request.store, target)
    document = {
        "issuer": target.issuer,
        "account": target.account,
        "known": seen.known,
        **usage_of(seen, request.policy),
        "overrides": limits_by_field(seen.state.overrides),
        "holds": [_hold(call, hold, seen.now) for call, hold in sorted(seen.state.holds.items())],
        "unreadable_holds": sorted(seen.state.unreadable),
    }
    return ApiAnswer(document)


def _hold(call_id: str, hold: Hold, now: int) -> dict[str, Any]:
    return {
        "call": call_id,
        "client_id": hold.client_id,
        "lease_seconds": max(0, -(-(hold.until - now) // 1000)),
        "on_unknown": hold.on_unknown.value,
        "deferred": hold.deferred is not None,
        "amounts": [
            {"kind": amount.kind.value, "name": amount.name, "reserved": amount.reserved} for amount in hold.amounts
        ],
    }


async def _verify(request: ApiRequest) -> ApiAnswer:
    target = request.target
    done = await verify_account(request.store, target)
    until = None if done.uncounted is None else datetime.fromtimestamp(done.uncounted / 1000, UTC)
    document = {
        "ok": not done.found,
        "issuer": target.issuer,
        "account": target.account,
        "entries": len(done.entries),
        "folded": done.snapshot.folded,
        "uncounted_until": None if until is None else until.isoformat(timespec="milliseconds"),
        "differences": [
            {"where": each.where, "pool": each.pool, "what": each.what, "expected": each.expected, "found": each.found}
            for each in done.found
        ],
    }
    return ApiAnswer(document)


_PROBLEMS: Final = (ApiCode.ACCOUNT_UNKNOWN, ApiCode.RECORD_CORRUPT)
ROUTES: Final = (
    Route(
        *("GET", "/v1/accounts/{account}/usage", "showUsage", "read"),
        "Show used and remaining amounts, and open holds.",
        *("Usage", _usage),
        parameters=(IN_PATH, ISSUER),
        problems=_PROBLEMS,
    ),
    Route(
        *("GET", "/v1/accounts/{account}/verification", "verifyAccount", "read"),
        "Recompute balances and counters from the journal.",
        *("Verification", _verify),
        parameters=(IN_PATH, ISSUER),
        problems=(*_PROBLEMS, ApiCode.JOURNAL_BUSY),
        slow=True,
    ),
)
