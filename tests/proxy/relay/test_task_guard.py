"""Responses whose request is not known any more: those that come on another stream than they were asked on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from sidecar.errors import Refusal
from sidecar.model import Call, CallKind, Revision
from sidecar.outcome import Event
from sidecar.protocol import results
from sidecar.protocol.results import Response, Unusable
from sidecar.proxy.ownership import Ownership
from sidecar.proxy.relay.task_guard import TaskGuard
from sidecar.store.commands import scripts
from sidecar.store.store import Store
from tests.store.support import CALLER
from tests.support.rig import Json
from tests.support.store import FaultProxy
from tests.support.tasks import RELATED

OTHER = replace(CALLER, client_id="cli-2")


@pytest.fixture
async def owner(fault_proxy: FaultProxy) -> AsyncIterator[Ownership]:
    store = Store(fault_proxy.url, scripts)
    await store.start()
    made = Ownership(store)
    assert await made.bind_tasks(CALLER, ["mine"], 0)
    assert await made.bind_tasks(OTHER, ["theirs"], 0)
    yield made
    await store.close(grace=0)


def response(result: Json) -> Response:
    return results.read_response(results.Response(7, Event.RESULT, result, _message(result)).encode())


def _message(result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": 7, "result": result}


async def late(owner: Ownership, result: Json, **options: Any) -> Response:
    return await TaskGuard(owner, CALLER, **{"served": True, **options}).answered(response(result), None)


async def test_a_task_that_is_handed_out_late_is_bound(owner: Ownership):
    for result in ({"task": {"taskId": "new", "status": "working"}}, {"task": {"taskId": "mine"}}):
        assert (await late(owner, result)).result == result
    assert await owner.own_tasks(CALLER, ["new", "mine"]) == {"new", "mine"}
    with pytest.raises(Unusable):
        await late(owner, {"task": {"taskId": "theirs"}})


@pytest.mark.parametrize(
    "result",
    [
        {"taskId": "theirs", "status": "working"},
        {"taskId": "never-was", "status": "working"},
        {"content": [], "_meta": {RELATED: {"taskId": "never-was"}}},
        {"tasks": [], "_meta": {RELATED: {"taskId": "never-was"}}},
    ],
    ids=str,
)
async def test_what_a_late_answer_says_of_a_task_that_is_not_the_callers_is_not_passed_on(
    owner: Ownership, result: Json
):
    with pytest.raises(Unusable):
        await late(owner, result)
    assert await owner.own_tasks(CALLER, ["theirs", "never-was"]) == frozenset()


async def test_a_late_answer_about_the_callers_own_task_passes(owner: Ownership):
    for result in ({"taskId": "mine", "status": "working"}, {"content": [], "_meta": {RELATED: {"taskId": "mine"}}}):
        assert (await late(owner, result)).result == result
    listed = {"tasks": [{"taskId": "theirs"}, {"taskId": "mine"}], "nextCursor": "n"}
    assert (await late(owner, listed)).result == {**listed, "tasks": [{"taskId": "mine"}]}


async def test_without_tasks_only_what_starts_one_is_looked_at(owner: Ownership):
    plain = {"content": [], "tasks": [{"taskId": "theirs"}]}
    assert (await late(owner, plain, served=False)).result == plain
    with pytest.raises(Unusable):
        await late(owner, {"task": {"taskId": "new"}}, served=False)


async def test_what_names_no_task_needs_no_store(owner: Ownership, fault_proxy: FaultProxy):
    await fault_proxy.refuse()
    guard = TaskGuard(owner, CALLER, served=True)
    call = Call(CallKind.REQUEST, Revision.V2026_07_28, "tasks/get", 7, {"taskId": "mine"})
    assert (await guard.answered(response({"taskId": "mine"}), call)).result == {"taskId": "mine"}
    assert (await late(owner, {"content": []})).result == {"content": []}
    assert await guard.passes({"method": "notifications/message", "params": {"data": {"taskId": "theirs"}}})
    assert await guard.passes(None)
    with pytest.raises(Refusal):
        await late(owner, {"task": {"taskId": "new"}})
