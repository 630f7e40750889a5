"""Credits: show, grant, spend and set."""

from __future__ import annotations

from typing import Final

from sidecar.admin_api.api_problems import ApiCode
from sidecar.admin_api.api_requests import ApiAnswer, ApiRequest
from sidecar.admin_api.api_schemas import CREATE, IN_PATH, ISSUER, KEY
from sidecar.admin_api.route_table import Route
from sidecar.management.credit_changes import CreditOrder, CreditVerb, change_credits
from sidecar.management.usage_reading import read_usage, usage_of


async def _show(request: ApiRequest) -> ApiAnswer:
    target = request.target
    usage = usage_of(await read_usage(request.store, target), request.policy)
    return ApiAnswer({"issuer": target.issuer, "account": target.account, "credits": usage["credits"]})


async def _change(request: ApiRequest) -> ApiAnswer:
    target, body = request.target, request.body
    pool, verb, amount = body["pool"], CreditVerb(body["change"]), body["amount"]
    order = CreditOrder(verb, pool, amount, request.parameters["Idempotency-Key"], request.parameters["create"])
    done = await change_credits(request.store, target, order, policy=request.policy, by=request.by)
    parties = {"issuer": target.issuer, "account": target.account}
    changed = {"pool": pool, "change": verb.value, "amount": amount}
    after = {"included": done.included, "balance": done.balance}
    document = {**parties, **changed, **after, "created": done.created}
    return ApiAnswer(document, change={**parties, **changed, **after}, created=done.created)


_PATH: Final = "/v1/accounts/{account}/credits"
ROUTES: Final = (
    Route(
        *("GET", _PATH, "showCredits", "read", "Show the credits of an account.", "Credits", _show),
        parameters=(IN_PATH, ISSUER),
        problems=(ApiCode.ACCOUNT_UNKNOWN, ApiCode.RECORD_CORRUPT),
    ),
    Route(
        *("POST", _PATH, "changeCredits", "credits"),
        "Grant, spend or set credits of one pool; a spend takes included credits first.",
        *("CreditsChanged", _change),
        parameters=(IN_PATH, ISSUER, CREATE, KEY),
        body="CreditChange",
        problems=(
            *(ApiCode.ACCOUNT_UNKNOWN, ApiCode.NAME_UNKNOWN, ApiCode.IDEMPOTENCY_KEY_REUSED),
            *(ApiCode.INSUFFICIENT_CREDITS, ApiCode.EXCESSIVE_CREDITS, ApiCode.RECORD_CORRUPT),
        ),
        creates=True,
    ),
)
