"""Policy and account of the tests, and the calls of a client in the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sidecar.ledger.journal.entries import Entry
from sidecar.management.journal_audit import verify_account
from sidecar.management.journal_reading import entries_after
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.model import AdmissionCode, AmountKind, Application, Caller, Demand, Depth, OnUnknown
from sidecar.policy.rules import Policy
from sidecar.store.commands import scripts
from sidecar.workbench.loading import load
from tests.cli.support import write

ACME = Target("main", "acme")
APP = "https://app.example/client.json"


def policy_of(folder: Path) -> Policy:
    """Return the compiled policy of the commands' tests."""
    return load(write(folder), serving=False).policy


async def entries(store: OperatorStore, target: Target = ACME) -> list[dict[str, Any]]:
    """Return the fields of all entries, without their numbers; the journal must verify."""
    assert (await verify_account(store, target)).found == []
    found: list[Entry] = await entries_after(store, target.keys, count=500)
    return [{name: value for name, value in each.fields.items() if name != "n"} for each in found]


async def call(
    store: OperatorStore, policy: Policy, tool: str, number: int, *, subject: str = "ann", client: str = APP
) -> AdmissionCode:
    """Admit and settle a call of a tool that costs its demands: `search` one request, `reveal` one contact."""
    caller = Caller("main", "https://i", subject, ACME.account, client, frozenset({"read", "reveal"}), 0, 1)
    demand = Demand(AmountKind.CREDIT, "contact", 1) if tool == "reveal" else Demand(AmountKind.QUOTA, "requests", 1)
    terms = policy.tools[tool].terms
    application = Application(
        f"call-{client}-{number}", "owner", caller, False, Depth.PRICE, terms, (demand,), on_unknown=OnUnknown.RELEASE
    )
    reply = scripts.admitted(application, await store.run(scripts.admit(application)))
    if reply.held:
        await store.run(scripts.settle(application, None))
    return reply.code
