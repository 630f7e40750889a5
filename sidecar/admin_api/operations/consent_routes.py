"""Consents: list, grant, revoke and remove; of one client, or of all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sidecar.admin_api.api_problems import ApiCode
from sidecar.admin_api.api_requests import ApiAnswer, ApiRequest
from sidecar.admin_api.api_schemas import CLIENT_FILTER, CLIENT_IN_PATH, CURSOR, IN_PATH, ISSUER, LIMIT, SUBJECT_FILTER
from sidecar.admin_api.route_table import Route
from sidecar.management.client_search import ClientSearch, revoke_client
from sidecar.management.consent_records import (
    ConsentRecord,
    ask_again,
    grant_consent,
    lift_revocation,
    list_consents,
    revoke_all_clients,
    revoke_consent,
)
from sidecar.management.record_pages import page_of_consents
from sidecar.management.targets import Target


async def _of_account(request: ApiRequest) -> ApiAnswer:
    target, asked = request.target, request.parameters
    found = await list_consents(request.store, target, client=asked["client_id"], subject=asked["subject"])
    consents = [_consent(target, each) for each in found if not each.all_clients]
    return ApiAnswer(
        {"consents": consents, "all_clients_revoked": any(each.all_clients for each in found), "next": None}
    )


async def _of_all(request: ApiRequest) -> ApiAnswer:
    asked = request.parameters
    page = await page_of_consents(request.store, request.issuer, asked["client_id"], asked["cursor"], asked["limit"])
    consents = [_consent(each.target, each.record) for each in page.records]
    return ApiAnswer({"consents": consents, "next": page.next})


async def _change(request: ApiRequest) -> ApiAnswer:
    body = request.body
    target, client, subject = Target(request.issuer, body["account"]), body["client_id"], body.get("subject")
    status, scopes = body["status"], body.get("scopes")
    parties = {"issuer": target.issuer, "account": target.account, "client_id": client, "subject": subject}
    document: dict[str, Any] = {**parties, "status": status, "scopes": None if scopes is None else sorted(scopes)}
    created = False
    if status == "none":
        removed = await ask_again(request.store, target, client, subject=subject, by=request.by)
        document |= {"removed": removed}
    elif status == "revoked":
        done = await revoke_consent(request.store, target, client, subject=subject, by=request.by, brief=True)
        created, document["others"] = done.created, done.others
    else:
        name = body.get("client_name", "")
        done = await grant_consent(
            request.store, target, client, subject=subject, scopes=scopes, client_name=name, by=request.by
        )
        created, document["others"] = done.created, done.others
    document["created"] = created
    return ApiAnswer(document, change={**parties, "status": status}, created=created)


async def _revoke_all(request: ApiRequest) -> ApiAnswer:
    target = request.target
    done = await revoke_all_clients(request.store, target, by=request.by)
    return _of_clients(target, "revoked", done.revoked, done.changed)


async def _lift(request: ApiRequest) -> ApiAnswer:
    target = request.target
    done = await lift_revocation(request.store, target, by=request.by)
    return _of_clients(target, "lifted", done.revoked, False)


def _of_clients(target: Target, status: str, changed: int, created: bool) -> ApiAnswer:
    parties = {"issuer": target.issuer, "account": target.account, "status": status}
    return ApiAnswer({**parties, "changed": changed, "created": created}, change=parties, created=created)


async def _revoke_everywhere(request: ApiRequest) -> ApiAnswer:
    client, issuer = request.parameters["client_id"], request.issuer
    done = await revoke_client(ClientSearch(request.store, issuer, client), by=request.by)
    parties = {"issuer": issuer, "client_id": client, "status": "revoked"}
    counts = {"changed": len(done.revoked), "already": len(done.already), "failed": len(done.failed)}
    return ApiAnswer({**parties, **counts, "created": False}, change={**parties, **counts})


def _consent(target: Target, record: ConsentRecord) -> dict[str, Any]:
    at = None if record.at is None else datetime.fromtimestamp(record.at / 1000, UTC)
    return {
        "issuer": target.issuer,
        "account": target.account,
        "subject": record.subject,
        "client_id": record.client_id,
        "client_name": record.client_name,
        "status": "granted" if record.granted else "revoked",
        "at": None if at is None else at.isoformat(timespec="milliseconds"),
        "scopes": None if record.scopes is None else list(record.scopes),
    }


_CORRUPT: Final = (ApiCode.RECORD_CORRUPT,)
_REVOCATION: Final = "/v1/accounts/{account}/revocation"

ROUTES: Final = (
    Route(
        *("GET", "/v1/consents", "listConsents", "read"),
        "List the consents of all accounts, or those to one client.",
        *("Consents", _of_all),
        parameters=(ISSUER, CLIENT_FILTER, LIMIT, CURSOR),
    ),
    Route(
        *("POST", "/v1/consents", "changeConsent", "consents"),
        "Grant, revoke or remove the consent to one client; it counts from the client's next call.",
        *("ConsentChanged", _change),
        parameters=(ISSUER,),
        body="ConsentChange",
        problems=_CORRUPT,
        creates=True,
    ),
    Route(
        *("GET", "/v1/accounts/{account}/consents", "listConsentsOfAccount", "read"),
        "List the consents of one account.",
        *("Consents", _of_account),
        parameters=(IN_PATH, ISSUER, CLIENT_FILTER, SUBJECT_FILTER),
    ),
    Route(
        *("PUT", _REVOCATION, "revokeAllClients", "consents"),
        "Revoke every client of one account, also those that register later.",
        *("RevocationChanged", _revoke_all),
        parameters=(IN_PATH, ISSUER),
        problems=_CORRUPT,
        creates=True,
    ),
    Route(
        *("DELETE", _REVOCATION, "liftRevocation", "consents"),
        "Lift the revocation of all clients; clients that were revoked stay revoked.",
        *("RevocationChanged", _lift),
        parameters=(IN_PATH, ISSUER),
        problems=_CORRUPT,
    ),
    Route(
        *("PUT", "/v1/clients/{client_id}/revocation", "revokeClient", "consents"),
        "Revoke one client in every account that has a record of it.",
        *("RevocationChanged", _revoke_everywhere),
        parameters=(CLIENT_IN_PATH, ISSUER),
        slow=True,
    ),
)
