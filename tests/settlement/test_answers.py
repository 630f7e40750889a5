"""Settlement rows for complete answers of the backend: results, errors, tasks and unusable answers."""

from __future__ import annotations

import pytest

from sidecar.ledger.settlement import NOT_RUN
from sidecar.ledger.settlement_table import SettlementRow
from tests.settlement.script import DATA, Json, answered, result_of, rows, streamed
from tests.settlement.stage import Play, Stage
from tests.support import backend as scripted
from tests.support.backend import Behaviour, Turn, tool_result
from tests.support.rig import LEGACY, MODERN

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]
ERAS = (MODERN, LEGACY)
ERROR: Json = {"error": {"code": -32000, "message": "no"}}


def event(outcome: Json) -> Behaviour:
    """Answer this as the last event of a stream."""

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(turn.response(outcome))
        await turn.end_stream()

    return behave


def failed(stream: bool) -> Behaviour:
    """Answer a result with `isError`."""

    async def behave(turn: Turn) -> None:
        result = result_of(turn, is_error=True)
        await (event({"result": result})(turn) if stream else turn.result(result))

    return behave


def broken_afterwards(reset: bool) -> Behaviour:
    """Answer the result in a stream, say it again with another price, and break off."""

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(turn.response({"result": result_of(turn)}))
        await turn.event(turn.response({"result": tool_result({"contacts": [], "lines": [], "rows": []})}))
        turn.reset() if reset else turn.close()

    return behave


LARGE: Json = {"result": tool_result({**DATA, "padding": "x" * 70_000})}

ANSWERS = (
    ("result", "json", answered),
    ("result", "sse", streamed),
    ("result_then_broken", "reset", broken_afterwards(reset=True)),
    ("result_then_broken", "closed", broken_afterwards(reset=False)),
    ("tool_error", "json", failed(stream=False)),
    ("tool_error", "sse", failed(stream=True)),
    ("tool_error_charged", "json", failed(stream=False)),
    ("tool_error_charged", "sse", failed(stream=True)),
    ("rpc_error", "json", scripted.rpc_error()),
    ("rpc_error", "sse", event(ERROR)),
    ("input_required", "json", scripted.input_required()),
    ("http_3xx", "304", scripted.http(304)),
    ("http_3xx", "307", scripted.http(307, b"", ("Location", "/elsewhere"))),
    *(("http_4xx", str(status), scripted.http(status, b"{}")) for status in sorted(NOT_RUN - {401, 403})),
    *(("http_4xx_unknown", str(status), scripted.http(status, b"{}")) for status in (402, 407, 408, 409, 410, 499)),
    ("http_4xx", "json-rpc", scripted.rpc_error(status=400)),
    *(("http_login", str(status), scripted.http(status)) for status in (401, 403)),
    *(("http_5xx", str(status), scripted.http(status)) for status in (500, 502, 503)),
    ("wrong_type", "html", scripted.http(200, b"<html>", media="text/html")),
    ("wrong_type", "202", scripted.http(202, media=None)),
    ("wrong_type", "204", scripted.http(204, media=None)),
    ("invalid_json", "html", scripted.http(200, b"<html>")),
    ("invalid_json", "half", scripted.http(200, b'{"jsonrpc":"2.0","id":1,"result":{')),
    ("invalid_json", "no-response", scripted.http(200, b'{"jsonrpc":"2.0","method":"ping"}')),
    ("other_id", "json", scripted.http(200, b'{"jsonrpc":"2.0","id":-1,"result":{}}')),
    ("coded", "gzip", scripted.http(200, b"\x1f\x8b", ("Content-Encoding", "gzip"))),
    ("too_large", "json", scripted.result(LARGE["result"])),
    ("too_large", "sse", event(LARGE)),
)


@rows(*ANSWERS)
@pytest.mark.parametrize("revision", ERAS)
async def test_an_answer_costs_what_its_row_says(stage: Stage, ending: SettlementRow, way: Behaviour, revision: str):
    async def act(play: Play) -> None:
        play.behaves(way)
        await play.call(revision=revision)

    await stage.both(ending, act)


@rows("input_given")
async def test_the_retry_with_input_is_a_call_of_its_own(stage: Stage, ending: SettlementRow):
    async def act(play: Play) -> None:
        play.behaves(answered)
        reply = await play.call(requestState="opaque", inputResponses={})
        assert reply.json["result"]["structuredContent"] == DATA

    await stage.both(ending, act)


# --- tasks -----------------------------------------------------------------------------------------

TIMES: Json = {"createdAt": "2026-11-23T10:30:00Z", "lastUpdatedAt": "2026-11-23T10:30:00Z"}


def office(task: str, status: str) -> Behaviour:
    """Return a task that later reports this outcome."""
    outcomes: Json = {"completed": {"result": tool_result(DATA)}, "failed": ERROR}

    async def behave(turn: Turn) -> None:
        method, stateless = turn.request.message["method"], turn.request.stateless
        shown = {"taskId": task, **TIMES, "ttlMs" if stateless else "ttl": 60_000}
        if method == "tools/call":
            begun = shown | {"status": "working"}
            await turn.result({"resultType": "task", **begun} if stateless else {"task": begun})
        elif method == "tasks/result":
            await turn.json(turn.response(outcomes[status]))
        elif method == "tasks/cancel" and stateless:
            await turn.result({})
        else:
            await turn.result({**shown, "status": status, **(outcomes.get(status, {}) if stateless else {})})

    return behave


@rows(*((f"task_{end}", era, era) for end in ("started", "completed", "failed", "cancelled") for era in ERAS))
async def test_a_task_costs_what_was_reserved_whatever_its_outcome(stage: Stage, ending: SettlementRow, way: str):
    status = ending.name.removeprefix("task_")

    async def act(play: Play) -> None:
        task = f"task-{play.ledger.account}"
        play.behaves(office(task, status))
        asked: Json = {} if way == MODERN else {"task": {"ttl": 60_000}}
        begun = (await play.call(revision=way, **asked)).json["result"]
        assert (begun if way == MODERN else begun["task"])["taskId"] == task
        if status == "cancelled":
            assert (await play.post("tasks/cancel", {"taskId": task}, revision=way)).status == 200
        if status != "started":
            task_state = (await play.post("tasks/get", {"taskId": task}, revision=way)).json["result"]
            assert task_state["status"] == status
        if status in ("completed", "failed") and way == LEGACY:
            reply = await play.post("tasks/result", {"taskId": task}, revision=way)
            assert ("result" in reply.json) is (status == "completed")

    await stage.both(ending, act)


@rows("task_unasked")
async def test_a_task_in_a_revision_without_tasks_is_no_answer(stage: Stage, ending: SettlementRow):
    async def act(play: Play) -> None:
        shown = {"taskId": "canary", "status": "working", **TIMES, "ttl": 60_000}
        play.behaves(scripted.result({"task": shown}))
        assert (await play.call(revision="2025-06-18")).status == 502

    await stage.both(ending, act)
