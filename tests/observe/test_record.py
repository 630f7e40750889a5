"""One exchange, one line, one count; and nothing in either that should not leave the process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sidecar.errors import ErrorCode, Refusal, ShadowRefusal
from sidecar.identity.invalid_token import invalid
from sidecar.model import Call, Caller, CallKind, Revision
from sidecar.observe.detail import MAX_DETAIL, detail
from sidecar.observe.logs import MAX_LINE, Lines
from sidecar.observe.metrics import EVICTED, Metrics
from sidecar.observe.record import Recorder
from sidecar.observe.statuses import Status, status_of
from sidecar.outcome import Action, Bound, Event, Eviction, Exchange, Receipt

CALLER = Caller(
    issuer_id="main",
    issuer="https://example.com/api/auth",
    subject="CANARY-subject",
    account="acme",
    client_id="https://client.example/id",
    scopes=frozenset({"stores:read", "contacts:reveal"}),
    issued_at=0,
    expires_at=9,
)
CALL = Call(
    CallKind.REQUEST,
    Revision.V2026_07_28,
    "tools/call",
    "CANARY-id",
    {"name": "reveal_contacts", "arguments": {"contact_ids": ["CANARY-argument"]}, "_meta": {"x": "CANARY-meta"}},
    {"params": {"arguments": {"contact_ids": ["CANARY-document"]}}},
    "CANARY-session",
    (("Mcp-Param-X", "CANARY-header"),),
)
# The contract's fields, in its order.
FIELDS = [
    *("ts", "level", "event", "request_id", "issuer", "account", "client_id", "method", "tool", "status", "code"),
    *("gate", "rule", "http_status", "rows", "credits", "latency_ms", "backend_ms", "plan", "scopes", "revision"),
    *("protocol", "shadow", "trace_id", "detail"),
]

Observe = Callable[[Exchange], bytes]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def observe(metrics: Metrics) -> Iterator[Observe]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    lines = Lines(fd=writer)
    recorder = Recorder(metrics, lines, clock=lambda: 100.25)

    def finish(exchange: Exchange) -> bytes:
        recorder.finish(exchange)
        assert lines.flush(10)
        return os.read(reader, 1 << 20)

    yield finish
    os.close(reader)
    os.close(writer)


def test_evictions_are_logged_and_counted(metrics: Metrics):
    reader, writer = os.pipe()
    lines = Lines(fd=writer)
    recorder = Recorder(metrics, lines)
    for kind in Bound:
        recorder.evicted(CALLER, Eviction(kind, "0" * 32, "CANARY-other", "https://client.example/other", "account"))
    recorder.challenge_evicted(("main", "CANARY-other", "https://client.example/other"))
    assert lines.flush(10)
    raw = os.read(reader, 1 << 20)
    assert b"CANARY" not in raw
    logged = [json.loads(line) for line in raw.splitlines()]
    assert [line["event"] for line in logged] == ["session_evicted", "task_evicted", "challenge_evicted"]
    assert {line["client_id"] for line in logged} == {"https://client.example/other"}
    assert (logged[0]["account"], logged[0]["full"]) == ("acme", "account")
    counted = {kind: metrics.evictions.labels(kind)._value.get() for kind in EVICTED}
    assert counted == {"session": 1, "task": 1, "challenge": 1, "token": 0, "introspection": 0}
    os.close(reader)
    os.close(writer)


def exchange(**values: Any) -> Exchange:
    return Exchange("r-1", 100.0, **{"call": CALL, "caller": CALLER, "method": "tools/call", **values})


def test_an_allowed_call_leaves_one_line_with_every_field(observe: Observe, metrics: Metrics):
    raw = observe(
        exchange(
            tool="reveal_contacts",
            http_status=200,
            rule="policies/p.yaml:40",
            rows=2,
            action=Action.CHARGE_RESULT,
            receipt=Receipt({"contact": 2}, {"requests": 1}),
            backend_seconds=0.2,
            plan="growth",
            policy_revision="abc",
            trace_id="0af7651916cd43dd8448eb211c80319c",
            shadow=(
                ShadowRefusal("policies/p.yaml:50", ErrorCode.ARGUMENTS_REFUSED, "limit must be at most 100."),
                ShadowRefusal("policies/p.yaml:51", ErrorCode.PLAN_REQUIRED),
            ),
        )
    )
    assert raw.endswith(b"}\n")
    line = json.loads(raw)
    assert list(line) == FIELDS
    del line["ts"]
    assert line == {
        "level": "info",
        "event": "call",
        "request_id": "r-1",
        "issuer": "https://example.com/api/auth",
        "account": "acme",
        "client_id": "https://client.example/id",
        "method": "tools/call",
        "tool": "reveal_contacts",
        "status": "ok",
        "code": "ok",
        "gate": None,
        "rule": "policies/p.yaml:40",
        "http_status": 200,
        "rows": 2,
        "credits": {"contact": 2},
        "latency_ms": 250.0,
        "backend_ms": 200.0,
        "plan": "growth",
        "scopes": "contacts:reveal stores:read",
        "revision": "abc",
        "protocol": "2026-07-28",
        "shadow": [
            {"rule": "policies/p.yaml:50", "code": "arguments_refused", "detail": "limit must be at most 100."},
            {"rule": "policies/p.yaml:51", "code": "plan_required"},
        ],
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "detail": None,
    }
    labels = {"method": "tools/call", "tool": "reveal_contacts", "status": "ok", "code": "ok"}
    assert metrics.registry.get_sample_value("mcp_sidecar_requests_total", labels) == 1


def test_no_content_is_in_the_line_or_the_metrics(observe: Observe, metrics: Metrics):
    refusal = Refusal(
        ErrorCode.ARGUMENTS_REFUSED,
        "CANARY-detail",
        data={"CANARY": "CANARY-data"},
        log="Authorization: Bearer CANARY-token",
    )
    raw = observe(exchange(refusal=refusal, code="CANARY-code", notes=["cannot read https://h/?CANARY-query"]))
    assert b"CANARY" not in raw
    assert b"CANARY" not in b"".join(metrics.expose().parts)
    assert json.loads(raw)["tool"] is None


def test_a_request_that_never_became_a_call(observe: Observe):
    line = json.loads(observe(Exchange("r", 100.0, refusal=Refusal(ErrorCode.TOKEN_MISSING), code="token_missing")))
    assert list(line) == FIELDS
    assert (line["status"], line["gate"], line["code"]) == ("refused", "token", "token_missing")
    assert (line["account"], line["method"], line["protocol"], line["credits"]) == (None, None, None, None)


@pytest.mark.parametrize(
    ("values", "status", "level"),
    [
        ({}, Status.OK, "info"),
        ({"code": "input_required"}, Status.OK, "info"),
        ({"code": "tool_error"}, Status.ERROR, "info"),
        ({"code": "rpc_error"}, Status.ERROR, "info"),
        ({"code": "http_refused"}, Status.ERROR, "info"),
        ({"code": "client_gone"}, Status.FAILED, "info"),
        ({"code": "owner_died"}, Status.FAILED, "warning"),
        ({"refusal": Refusal(ErrorCode.QUOTA_EXCEEDED)}, Status.REFUSED, "info"),
        ({"refusal": Refusal(ErrorCode.STORE_UNAVAILABLE)}, Status.REFUSED, "warning"),
        ({"refusal": Refusal(ErrorCode.BACKEND_TIMEOUT)}, Status.FAILED, "warning"),
        ({"refusal": Refusal(ErrorCode.INTERNAL)}, Status.FAILED, "error"),
    ],
)
def test_status_and_level(observe: Observe, values: dict[str, Any], status: Status, level: str):
    line = json.loads(observe(exchange(**values)))
    assert (line["status"], line["level"]) == (status, level)


@pytest.mark.parametrize("event", list(Event))
def test_every_outcome_has_a_status(event: Event):
    assert status_of(exchange(code=event.value)) in Status


def test_notes_are_logged_when_there_are_any(observe: Observe):
    refusal = Refusal(ErrorCode.BACKEND_UNAVAILABLE, log="the backend answered 503")
    line = json.loads(observe(exchange(refusal=refusal, notes=["settle failed"], receipt=Receipt(late=True))))
    assert line["notes"] == [
        "the backend answered 503",
        "settle failed",
        "the hold was already resolved; nothing was applied",
    ]
    assert line["credits"] is None


GUID = "api://0f8fad5b-d9cb-469f-a165-70867728950e"


def test_the_values_of_a_refused_token_can_be_compared(observe: Observe):
    refusal = invalid("its aud is not accepted", check="aud", found=[GUID, "x"], accepted=["https://mcp.example/mcp"])
    line = json.loads(observe(Exchange("r", 100.0, refusal=refusal, code="token_invalid")))
    found = f'["{GUID}", "x"]'
    assert line["detail"] == {"check": "aud", "found": found, "accepted": "https://mcp.example/mcp"}
    assert line["notes"] == [f"its aud is not accepted (found {found}; accepted https://mcp.example/mcp)"]


HOSTILE = [
    *("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.CANARY", "https://h/?CANARY", "https://CANARY@h/", "https://h/#t=CANARY"),
    *("\N{GRINNING FACE}" * 9000, '"' * 9000, "\\" * 9000, "\x00\r\n" * 9000, "\ud800", "a" * 1_000_000),
]


@pytest.mark.parametrize("value", [*HOSTILE, HOSTILE, {"a": HOSTILE}], ids=range(len(HOSTILE) + 2))
def test_no_value_of_a_token_breaks_the_line_or_shows_a_secret(observe: Observe, value: object):
    refusal = invalid("its aud is not accepted", check="aud", found=value, accepted=[GUID] * 50)
    raw = observe(Exchange("r", 100.0, refusal=refusal, code="token_invalid"))
    assert len(raw) <= MAX_LINE
    assert b"CANARY" not in raw
    line = json.loads(raw)
    assert len(json.dumps(line["detail"])) <= MAX_DETAIL
    assert line["detail"]["check"] == "aud"
    assert GUID in line["detail"]["accepted"]


def test_numbers_stay_numbers_and_what_is_too_much_is_left_out():
    assert detail({"quota": "rows", "needed": 2, "left": None}) == {"quota": "rows", "needed": 2, "left": None}
    assert list(detail({str(number): "x" * 700 for number in range(9)}) or ()) == ["0"]
    assert detail({}) is None


def test_a_hold_that_the_store_has_lost_is_a_warning(observe: Observe):
    line = json.loads(observe(exchange(receipt=Receipt(late=True), hold_lost=True)))
    assert line["level"] == "warning"
    assert line["notes"] == ["the store lost the hold before its lease ended; nothing was charged"]
    assert line["credits"] is None


def test_the_longest_exchange_still_fits_one_write(observe: Observe):
    wide = "\U0001f600" * 3000
    caller = Caller(wide, wide, wide, wide, wide, frozenset({wide}), 0, 9)
    raw = observe(
        exchange(
            caller=caller,
            tool=wide,
            rule=wide,
            plan=wide,
            shadow=(ShadowRefusal(wide, ErrorCode.ARGUMENTS_REFUSED, wide),) * 50,
            notes=[wide] * 50,
            trace_id=wide,
        )
    )
    assert len(raw) <= MAX_LINE
    assert raw.count(b"\n") == 1
    assert json.loads(raw)["request_id"] == "r-1"


def test_a_line_below_the_level_is_counted_all_the_same(metrics: Metrics):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    lines = Lines("error", writer)
    Recorder(metrics, lines).finish(exchange())
    assert lines.flush(10)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    assert b"".join(metrics.expose().parts).count(b"mcp_sidecar_requests_total{") == 1
