"""Questions and answers of the tests of confirmations."""

from __future__ import annotations

from typing import Any

from sidecar.approval import ConfirmBy
from sidecar.ledger.approval_records import Approval
from sidecar.protocol.elicitation.elicitation import question_id
from sidecar.store.approval_store import ApprovalStore
from sidecar.system.random_ids import random_id
from tests.support.rig import LEGACY, Json, Reply, Rig


def approvals(rig: Rig) -> ApprovalStore:
    return ApprovalStore(rig.sidecar.store)


async def asked(rig: Rig, *, by: ConfirmBy = ConfirmBy.PERSON, **changes: Any) -> Approval:
    """A pending approval in the store, as some sidecar has written it."""
    words: dict[str, Any] = {
        "issuer_id": "main",
        "subject": "ada",
        "account": "ada",
        "client_id": "cli-1",
        "tool": "reveal_contacts",
        "title": "Reveal contacts",
        "message": "Reveal 2 contacts?",
        "prices": (),
        "arguments": "a",
        "rule": "r",
    }
    return await approvals(rig).ask(Approval(random_id(), by=by, **(words | changes)))


async def state(rig: Rig, approval: Approval) -> str | None:
    """State of an approval now."""
    found = await approvals(rig).find(approval.issuer_id, approval.account, approval.handle)
    return None if found is None else found.status.value


def answer_to(approval: Approval, **outcome: Any) -> Json:
    """Response of a client to the question about an approval; accepted unless it says otherwise."""
    id_ = question_id(approval.handle, random_id())
    return {"jsonrpc": "2.0", "id": id_, **(outcome or {"result": {"action": "accept", "content": {}}})}


async def post(rig: Rig, message: Json, *, session: str | None, token: str = "", revision: str = LEGACY) -> Reply:
    """Post a message of a client."""
    return await rig.send(message, rig.request_headers(message, revision, token, {"Mcp-Session-Id": session}))
