"""Responses whose request is not known any more: those that come on another stream than they were asked on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from sidecar.errors import Refusal
from sidecar.ledger import scripts
from sidecar.ledger.store import Store
from sidecar.model import Call, CallKind, Revision
from sidecar.outcome import Event
from sidecar.protocol import results
from sidecar.protocol.results import Response, Unusable
from sidecar.proxy.gates import Gates
from sidecar.proxy.tasks import TaskGuard
from tests.ledger.support import CALLER
from tests.support.rig import Json
from tests.support.store import FaultProxy
from tests.support.tasks import RELATED

OTHER = replace(CALLER, client_id="cli-2")


@pytest.fixture
async def gates(fault_proxy: FaultProxy) -> AsyncIterator[Gates]:
    store = Store(fault_proxy.url, scripts)
    await store.start()
    made = Gates(store, "p1")
    assert await made.bind_tasks(CALLER, ["mine"], 0)
    assert await made.bind_tasks(OTHER, ["theirs"], 0)
    yield made
    await store.close(grace=0)


def response(result: Json) -> Response:
    return results.read_response(results.Response(7, Event.RESULT, result, _message(result)).encode())


def _message(result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": 7, "result": result}


async def late(gates: Gates, result: Json, **options: Any) -> Response:
    return await TaskGuard(gates, CALLER, **{"served": True, **options}).answered(response(result), None)


async def test_a_task_that_is_handed_out_late_is_bound(gates: Gates):
    for result in ({"task": {"taskId": "new", "status": "working"}}, {"task": {"taskId": "mine"}}):
        assert (await late(gates, result)).result == result
    assert await gates.own_tasks(CALLER, ["new", "mine"]) == {"new", "mine"}
    with pytest.raises(Unusable):
        await late(gates, {"task": {"taskId": "theirs"}})


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
async def test_what_a_late_answer_says_of_a_task_that_is_not_the_callers_is_not_passed_on(gates: Gates, result: Json):
    with pytest.raises(Unusable):
        await late(gates, result)
    assert await gates.own_tasks(CALLER, ["theirs", "never-was"]) == frozenset()


async def test_a_late_answer_about_the_callers_own_task_passes(gates: Gates):
    for result in ({"taskId": "mine", "status": "working"}, {"content": [], "_meta": {RELATED: {"taskId": "mine"}}}):
        assert (await late(gates, result)).result == result
    listed = {"tasks": [{"taskId": "theirs"}, {"taskId": "mine"}], "nextCursor": "n"}
    assert (await late(gates, listed)).result == {**listed, "tasks": [{"taskId": "mine"}]}


async def test_without_tasks_only_what_starts_one_is_looked_at(gates: Gates):
    plain = {"content": [], "tasks": [{"taskId": "theirs"}]}
    assert (await late(gates, plain, served=False)).result == plain
    with pytest.raises(Unusable):
        await late(gates, {"task": {"taskId": "new"}}, served=False)


async def test_what_names_no_task_needs_no_store(gates: Gates, fault_proxy: FaultProxy):
    await fault_proxy.refuse()
    guard = TaskGuard(gates, CALLER, served=True)
    call = Call(CallKind.REQUEST, Revision.V2026_07_28, "tasks/get", 7, {"taskId": "mine"})
    assert (await guard.answered(response({"taskId": "mine"}), call)).result == {"taskId": "mine"}
    assert (await late(gates, {"content": []})).result == {"content": []}
    assert await guard.passes({"method": "notifications/message", "params": {"data": {"taskId": "theirs"}}})
    assert await guard.passes(None)
    with pytest.raises(Refusal):
        await late(gates, {"task": {"taskId": "new"}})
