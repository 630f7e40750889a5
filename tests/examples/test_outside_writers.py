"""Run the examples of other programs, as they are printed, on the store of a running sidecar."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.store.commands import changes
from sidecar.store.commands.keys import account_keys
from sidecar.store.commands.shipped import REVOKE
from tests.examples.programs import LANGUAGES, PYTHON, TYPESCRIPT, Program, program
from tests.support import node
from tests.support.backend import Backend
from tests.support.rig import Rig, rig
from tests.support.store import StoreServer


@dataclass(frozen=True)
class Outside:
    """A sidecar, and another program that uses its store.

    Attributes:
        run: runs the program for account `ada` and gives exit status and what it printed.
    """

    rig: Rig
    run: Program


@pytest.fixture(params=LANGUAGES)
async def outside(request: pytest.FixtureRequest, tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Outside]:
    run = program(request.param, tmp_path, store_server.url)
    async with rig(tmp_path, store_server) as running:
        yield Outside(running, run)


async def reveal(rig: Rig, *contacts: str) -> str | None:
    """A call that costs one credit per contact: its refusal."""
    arguments = {"contact_ids": list(contacts), "confirm_spend_credits": True}
    return (await rig.call("reveal_contacts", arguments)).code


async def test_plan_status_and_consent_written_directly_count_from_the_next_call_on(outside: Outside):
    rig = outside.rig
    assert (await rig.call("get_usage")).code == "consent_missing"
    assert await outside.run("consent", "granted", "ada", "cli-1") == (0, {"code": "done"})
    assert (await rig.call("get_usage")).code is None
    assert await reveal(rig, "c1") == "plan_required"  # the default plan is the free one
    assert await outside.run("plan", "growth") == (0, {"code": "done"})
    assert await reveal(rig, "c1") is None
    assert await outside.run("status", "disabled") == (0, {"code": "done"})
    assert await reveal(rig, "c1") == "account_disabled"
    assert await outside.run("status", "active") == (0, {"code": "done"})
    assert await reveal(rig, "c1") is None
    assert await outside.run("plan", "free") == (0, {"code": "done"})
    assert await reveal(rig, "c1") == "plan_required"
    assert await outside.run("consent", "revoked", "ada", "cli-1") == (0, {"code": "done"})
    await rig.call("get_usage")  # 401 or not, as the token is older or not: what refused stands in the log
    assert (await rig.line(code="consent_revoked"))["tool"] == "get_usage"


async def test_a_new_approval_can_narrow_and_widen_a_consent(outside: Outside):
    rig = outside.rig
    await rig.account(plan="growth")
    assert await outside.run("consent", "granted", "ada", "cli-1", "--scopes", "usage:read") == (0, {"code": "done"})
    assert (await rig.call("get_usage")).code is None
    assert (await rig.call("list_taxonomy")).code == "insufficient_scope"
    assert await outside.run("consent", "granted", "ada", "cli-1", "--scopes", "usage:read stores:read") == (
        0,
        {"code": "done"},
    )
    assert (await rig.call("list_taxonomy")).code is None
    assert await reveal(rig, "c1") == "insufficient_scope"
    assert await outside.run("consent", "granted", "ada", "cli-1") == (0, {"code": "done"})
    with rig.redis() as client:
        assert not client.hexists(account_keys("main", "ada").consent("ada", "cli-1"), "scopes")
    # All that the token has, contacts included: what refuses now is the money.
    assert await reveal(rig, "c1") in (None, "insufficient_credits")


async def test_a_revocation_with_the_documented_message_ends_open_streams(tmp_path: Path, store_server: StoreServer):
    account, consent, client_record = digest("main", "ada"), digest("ada", "cli-1"), digest("cli-1")
    assert changes.revoke("main", "ada", "ada", "cli-1").arguments[4:6] == ("mcp:revoked", f"{account} {consent}")
    assert changes.revoke("main", "ada", None, "cli-1").arguments[5] == f"{account} {client_record}"
    prefix = f"mcp:{{{account}}}:"
    keys = [prefix + name for name in (f"consent:{consent}", f"client:{client_record}", "ledger", "usage")]
    words = ("main", "ada", "ada", "cli-1", "mcp:revoked", f"{account} {consent}")
    async with rig(tmp_path, store_server, scripted=Backend(sessions=True)) as running:
        await running.account(plan="growth")
        await running.grant()
        async with running.stream(session=await running.session()) as stream:
            with running.redis() as client:
                assert client.eval(REVOKE.source, len(keys), *keys, *words) == 0
            while await stream.message() is not None:
                pass
        await running.recorded(2)
        assert [line["stream_end"] for line in running.calls if "stream_end" in line] == ["access_withdrawn"]


def digest(*parts: str) -> str:
    """As the documentation defines it."""
    raw = (part.encode() for part in parts)
    return hashlib.sha256(b"".join(b"%d:%b," % (len(each), each) for each in raw)).hexdigest()[:32]


async def test_it_spends_from_the_same_pool_and_a_repetition_changes_nothing(outside: Outside):
    rig = outside.rig
    await rig.account(plan="growth")
    await rig.grant()
    grant = ("grant", "contact", 5, "order-1")
    for _ in range(2):
        assert await outside.run(*grant) == (0, {"code": "done", "balance": 5, "included": 0})
    assert (await rig.books()).balance == {"contact": 5}

    # All but one of the credits that the plan includes, and then two more: one of each kind.
    spend = ("--included", "month:3000", "spend", "contact", 2999, "reveal-1")
    for _ in range(2):
        assert await outside.run(*spend) == (0, {"code": "done", "balance": 5, "included": 2999})
    assert await reveal(rig, "c1", "c2") is None
    await rig.recorded(1)
    books = await rig.books()
    assert (books.included["contact"], books.balance["contact"]) == (3000, 4)

    assert await outside.run("spend", "contact", 5, "reveal-2") == (
        1,
        {"code": "too_little", "balance": 4, "included": 0},
    )
    assert await outside.run("spend", "contact", 4, "reveal-2") == (0, {"code": "done", "balance": 0, "included": 0})
    assert await reveal(rig, "c3") == "insufficient_credits"
    assert await reveal(rig, "c1", "c2") is None  # paid already


async def test_many_programs_at_once_spend_one_operation_once_and_no_credit_twice(outside: Outside):
    rig = outside.rig
    await rig.account(plan="growth", credits=3)
    same = await asyncio.gather(*(outside.run("spend", "contact", 1, "same") for _ in range(3)))
    assert same == [(0, {"code": "done", "balance": 2, "included": 0})] * 3
    others = await asyncio.gather(*(outside.run("spend", "contact", 1, f"other-{i}") for i in range(4)))
    assert sorted(status for status, _ in others) == [0, 0, 1, 1]
    assert (await rig.books()).balance == {"contact": 0}


async def test_a_refused_change_changes_nothing(outside: Outside):
    rig = outside.rig
    assert await outside.run("grant", "contact", 5, "order-1") == (
        1,
        {"code": "account_unknown", "balance": 0, "included": 0},
    )
    await rig.account(plan="growth", credits=3)
    status, said = await outside.run("spend", "contact", 9007199254740992, "too-much")
    assert (status, said["code"]) == (1, "refused")
    assert "credits: an integer from 0 to 9007199254740991" in said["error"]
    assert (await rig.books()).balance == {"contact": 3}
    with rig.redis() as client:
        assert not client.exists(account_keys("main", "ada").done("too-much"))


def test_the_pinned_versions_are_those_that_are_tested():
    pinned = json.loads((TYPESCRIPT / "package.json").read_text())["dependencies"]["redis"]
    assert pinned == json.loads(node.MANIFEST.read_text())["dependencies"]["redis"]
    assert re.search(r'pip install "redis==8\.', PYTHON.read_text())
