"""Accounts: list, show, change and delete."""

from __future__ import annotations

from typing import Any, Final

from sidecar.admin_api.api_problems import ApiCode, ApiProblem
from sidecar.admin_api.api_requests import ApiAnswer, ApiRequest
from sidecar.admin_api.api_schemas import CREATE, CURSOR, IF_MATCH, IN_PATH, ISSUER, LIMIT
from sidecar.admin_api.route_table import Route
from sidecar.management.account_records import (
    AccountChange,
    AccountDetail,
    AccountRecord,
    delete_account,
    set_account,
    show_account,
)
from sidecar.management.record_pages import page_of_account_records
from sidecar.window_rules import Window

_PLAN: Final = "plan"  # as a limit: the plan's


async def _list(request: ApiRequest) -> ApiAnswer:
    issuer = request.issuer
    page = await page_of_account_records(
        request.store, issuer, request.parameters["cursor"], request.parameters["limit"]
    )
    accounts = [{**_record(each), "digest": each.digest} for each in page.records]
    return ApiAnswer({"accounts": accounts, "next": page.next})


async def _show(request: ApiRequest) -> ApiAnswer:
    return _detail(await show_account(request.store, request.target))


async def _change(request: ApiRequest) -> ApiAnswer:
    target, body = request.target, request.body
    quotas: dict[str, Any] = body.get("quotas", {})
    limits = {_place(field): limit for field, limit in quotas.items() if limit != _PLAN}
    change = AccountChange(
        plan=body.get("plan"),
        active=None if "status" not in body else body["status"] == "active",
        limits={place: limit if isinstance(limit, int) else None for place, limit in limits.items()},
        drop=[_place(field) for field, limit in quotas.items() if limit == _PLAN],
        create=request.parameters["create"],
        version=_version(request.parameters["If-Match"]),
    )
    created = await set_account(request.store, target, change, policy=request.policy, by=request.by)
    answer = _detail(await show_account(request.store, target))
    changed = {"issuer": target.issuer, "account": target.account, "changed": sorted(body)}
    return ApiAnswer(answer.document, answer.version, changed, created)


async def _delete(request: ApiRequest) -> ApiAnswer:
    target = request.target
    await delete_account(request.store, target, by=request.by)
    parties = {"issuer": target.issuer, "account": target.account}
    return ApiAnswer(parties, change=parties)


def _place(field: str) -> tuple[str, Window]:
    quota, _, window = field.rpartition(".")
    return quota, Window(window)


def _version(tag: str | None) -> str | None:
    """Return the version of an entity tag; None for any (RFC 9110 section 13.1.1)."""
    if tag is None or tag == "*":
        return None
    if len(tag) < 3 or not (tag.startswith('"') and tag.endswith('"')) or '"' in tag[1:-1]:
        raise ApiProblem(ApiCode.PARAMETER_INVALID, 'If-Match: one strong entity tag, such as "0f3a", or *')
    return tag[1:-1]


def _detail(found: AccountDetail) -> ApiAnswer:
    document = {
        **_record(found.record),
        "balances": dict(found.balances),
        "all_clients_revoked": found.all_clients_revoked,
    }
    return ApiAnswer(document, found.record.version)


def _record(found: AccountRecord) -> dict[str, Any]:
    return {
        "issuer": found.issuer,
        "account": found.account,
        "plan": found.plan,
        "status": found.status.value,
        "quotas": dict(found.quotas),
    }


_UNKNOWN: Final = (ApiCode.ACCOUNT_UNKNOWN,)
_ONE: Final = "/v1/accounts/{account}"

ROUTES: Final = (
    Route(
        *("GET", "/v1/accounts", "listAccounts", "read", "List the accounts that have a record.", "Accounts", _list),
        parameters=(ISSUER, LIMIT, CURSOR),
    ),
    Route(
        *("GET", _ONE, "showAccount", "read", "Show one account.", "Account", _show),
        parameters=(IN_PATH, ISSUER),
        problems=(*_UNKNOWN, ApiCode.RECORD_CORRUPT),
        versioned=True,
    ),
    Route(
        *("PATCH", _ONE, "changeAccount", "accounts", "Set plan, status or own limits.", "Account", _change),
        parameters=(IN_PATH, ISSUER, CREATE, IF_MATCH),
        body="AccountChange",
        problems=(*_UNKNOWN, ApiCode.VERSION_CONFLICT, ApiCode.NAME_UNKNOWN, ApiCode.RECORD_CORRUPT),
        versioned=True,
        creates=True,
    ),
    Route(
        *("DELETE", _ONE, "deleteAccount", "accounts"),
        "Delete an account except its revocations; it stays disabled until it is created again.",
        *("Deleted", _delete),
        parameters=(IN_PATH, ISSUER),
        problems=_UNKNOWN,
    ),
)
