"""The numbers: named as promised, counted once, with labels that no client can invent."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import Gauge

from sidecar.errors import ErrorCode, Gate, Refusal, ShadowRefusal
from sidecar.model import AmountKind, Call, CallKind, Price, Revision
from sidecar.observe.metrics import CODES, Metrics, credits_of, tool_label
from sidecar.observe.plain_metrics import OTHER
from sidecar.observe.series import MAX_SERIES, TOOL_CODES
from sidecar.observe.statuses import status_of
from sidecar.outcome import Action, Event, Exchange, Receipt


def exchange(**values: Any) -> Exchange:
    call = Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/call", 1, {"name": values.get("tool") or "CANARY"})
    defaults: dict[str, Any] = {"call": call, "method": "tools/call"}
    return Exchange("r", 0.0, **{**defaults, **values})


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"mcp_sidecar_{name}", labels)


def test_a_call_is_counted_by_method_tool_status_and_code():
    metrics = Metrics()
    for _ in range(3):
        metrics.count(exchange(tool="reveal_contacts", backend_seconds=0.75), "ok", 1.0)
    labels = {"method": "tools/call", "tool": "reveal_contacts"}
    assert value(metrics, "requests_total", **labels, status="ok", code="ok") == 3
    assert value(metrics, "request_seconds_sum", **labels) == 3.0
    assert value(metrics, "backend_seconds_sum", **labels) == 2.25
    assert value(metrics, "overhead_seconds_sum", **labels) == 0.75


def test_no_client_data_becomes_a_label():
    metrics = Metrics()
    for number in range(50):
        metrics.count(exchange(code=f"CANARY-{number}"), "ok", 0.1)
        metrics.count(Exchange("r", 0.0, code=f"CANARY-{number}"), "refused", 0.1)
    text = b"".join(metrics.expose().parts)
    assert b"CANARY" not in text
    assert value(metrics, "requests_total", method="tools/call", tool=OTHER, status="ok", code=OTHER) == 50
    assert value(metrics, "requests_total", method=OTHER, tool="", status="refused", code=OTHER) == 50


def test_other_methods_have_no_tool():
    call = Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/list", 1)
    assert tool_label(exchange(call=call)) == ""
    assert tool_label(exchange()) == OTHER
    assert tool_label(exchange(tool="get_usage")) == "get_usage"


def test_every_refusal_can_be_counted():
    metrics = Metrics()
    for code in ErrorCode:
        assert code.id in CODES
        metrics.count(exchange(refusal=Refusal(code), code=code.id), "refused", 0.1)
        assert value(metrics, "refusals_total", gate=code.row.gate.value, code=code.id, quota="", pool="") == 1
        labels = {"method": "tools/call", "tool": OTHER, "status": "refused", "code": code.id}
        assert value(metrics, "requests_total", **labels) == 1


def test_an_open_stream_is_no_latency():
    metrics = Metrics()
    metrics.count(exchange(call=Call(CallKind.STREAM, Revision.V2025_11_25), method=None), "ok", 3600.0)
    assert value(metrics, "requests_total", method=OTHER, tool="", status="ok", code="ok") == 1
    assert value(metrics, "request_seconds_count", method=OTHER, tool="") in (None, 0.0)


PRICES = (Price(AmountKind.CREDIT, "contact", 5, 9), Price(AmountKind.QUOTA, "requests", 1, 60))


def money(metrics: Metrics) -> tuple[float | None, ...]:
    return tuple(value(metrics, f"credits_{what}_total", pool="contact") for what in ("reserved", "spent", "released"))


@pytest.mark.parametrize(
    ("action", "receipt", "expected"),
    [
        (Action.CHARGE_RESULT, Receipt({"contact": 2}), (5, 2, 3)),
        (Action.CHARGE_RESERVE, Receipt({"contact": 5}), (5, 5, None)),
        (Action.CHARGE_RESULT, Receipt({"contact": 0}), (5, None, 5)),
        (Action.RELEASE, Receipt(), (5, None, 5)),
        (Action.CHARGE_RESULT, Receipt({"contact": 2}, late=True), (5, None, None)),
        (Action.CHARGE_RESULT, None, (5, None, None)),
        (None, None, (None, None, None)),
    ],
)
def test_credits_reserved_are_spent_or_released(
    action: Action | None, receipt: Receipt | None, expected: tuple[float | None, ...]
):
    metrics = Metrics()
    metrics.count(exchange(tool="reveal_contacts", reserved=PRICES, action=action, receipt=receipt), "ok", 0.1)
    assert money(metrics) == expected
    assert value(metrics, "late_settlements_total") == (1 if receipt and receipt.late else 0)
    if action is not None:
        assert value(metrics, "settlements_total", action=action.value) == 1


@pytest.mark.parametrize("hold_lost", [True, False])
def test_holds_that_the_store_has_lost_are_counted_apart(hold_lost: bool):
    metrics = Metrics()
    late = exchange(action=Action.CHARGE_RESULT, receipt=Receipt(late=True), hold_lost=hold_lost)
    metrics.count(late, "ok", 0.1)
    assert (value(metrics, "lost_holds_total"), value(metrics, "late_settlements_total")) == (hold_lost, 1)


@pytest.mark.parametrize(
    ("code", "specifics", "quota", "pool"),
    [
        (ErrorCode.QUOTA_EXCEEDED, {"quota": "search_rows", "needed": 5}, "search_rows", ""),
        (ErrorCode.INSUFFICIENT_CREDITS, {"pool": "contact", "needed": 5}, "", "contact"),
        (ErrorCode.ARGUMENTS_REFUSED, {"quota": "CANARY", "pool": "CANARY"}, "", ""),
    ],
)
def test_a_refusal_names_the_quota_or_pool_that_refused(
    code: ErrorCode, specifics: dict[str, Any], quota: str, pool: str
):
    metrics = Metrics()
    metrics.count(exchange(refusal=Refusal(code, specifics=specifics), code=code.id), "refused", 0.1)
    labels = {"gate": code.row.gate.value, "code": code.id, "quota": quota, "pool": pool}
    assert value(metrics, "refusals_total", **labels) == 1


def test_units_of_quotas_are_counted_once_their_call_is_settled():
    metrics = Metrics()
    used = Receipt({"contact": 2}, {"requests": 1, "search_rows": 30})
    metrics.count(exchange(action=Action.CHARGE_RESULT, receipt=used), "ok", 0.1)
    late = Receipt({}, {"search_rows": 30}, late=True)
    metrics.count(exchange(action=Action.CHARGE_RESULT, receipt=late), "ok", 0.1)
    assert value(metrics, "quota_used_total", quota="search_rows") == 30
    assert value(metrics, "quota_used_total", quota="requests") == 1


def test_two_amounts_of_one_pool_are_added():
    assert credits_of([*PRICES, Price(AmountKind.CREDIT, "contact", 2, 9)]) == {"contact": 7}


def test_shadow_refusals_and_settling_problems_are_counted_by_tool():
    metrics = Metrics()
    quota = ShadowRefusal("p.yaml:3", ErrorCode.QUOTA_EXCEEDED, quota="requests")
    rows = ShadowRefusal("p.yaml:4", ErrorCode.QUOTA_EXCEEDED, quota="rows")
    plan = ShadowRefusal("p.yaml:9", ErrorCode.PLAN_REQUIRED)
    metrics.count(exchange(tool="reveal_contacts", shadow=(quota, plan, quota, rows), notes=["a", "b"]), "ok", 0.1)
    for code, name in (("quota_exceeded", "requests"), ("quota_exceeded", "rows"), ("plan_required", "")):
        assert value(metrics, "shadow_refusals_total", tool="reveal_contacts", code=code, quota=name) == 1
    assert value(metrics, "settle_problems_total", tool="reveal_contacts") == 2


def test_counters_with_known_labels_begin_at_0():
    """A rate does not see the first count of a series that begins with it."""
    metrics = Metrics()
    for code in set(ErrorCode) - {ErrorCode.QUOTA_EXCEEDED, ErrorCode.INSUFFICIENT_CREDITS}:
        assert value(metrics, "refusals_total", gate=code.row.gate.value, code=code.id, quota="", pool="") == 0
    for action in Action:
        assert value(metrics, "settlements_total", action=action.value) == 0
    for name in ("log_lines_dropped", "reload_failures", "store_errors", "late_settlements", "lost_holds"):
        assert value(metrics, f"{name}_total") == 0
    metrics.expect(["reveal_contacts"], ["contact"], [("reveal_contacts", "quota_exceeded", "requests")], ["requests"])
    refused = {"gate": "budget", "code": "quota_exceeded", "quota": "requests", "pool": ""}
    assert value(metrics, "refusals_total", **refused) == 0
    assert value(metrics, "quota_used_total", quota="requests") == 0
    assert value(metrics, "shadow_refusals_total", tool="reveal_contacts", code="quota_exceeded", quota="requests") == 0
    assert money(metrics) == (0, 0, 0)
    for tool in ("reveal_contacts", OTHER):
        assert value(metrics, "settle_problems_total", tool=tool) == 0
        for status, kind in (("ok", "ok"), ("failed", "backend_timeout"), ("refused", "store_unavailable")):
            labels = {"method": "tools/call", "tool": tool, "status": status, "code": kind}
            assert value(metrics, "requests_total", **labels) == 0


def request_series(metrics: Metrics) -> int:
    return b"".join(metrics.expose().parts).count(b"\nmcp_sidecar_requests_total{")


REFUSALS = [code for code in ErrorCode if code.id in TOOL_CODES]
EVENTS = ["ok", *(event.value for event in Event if event.value in TOOL_CODES)]


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_of_a_declared_tool_is_counted_from_0(code: ErrorCode):
    """Under other labels a series would begin at 1 after all."""
    metrics = Metrics()
    metrics.expect(["reveal_contacts"], [])
    refused = exchange(tool="reveal_contacts", refusal=Refusal(code), code=code.id)
    before = request_series(metrics)
    metrics.count(refused, status_of(refused).value, 0.1)
    assert request_series(metrics) == before


@pytest.mark.parametrize("code", EVENTS)
def test_an_outcome_of_a_declared_tool_is_counted_from_0(code: str):
    metrics = Metrics()
    metrics.expect(["reveal_contacts"], [])
    ended = exchange(tool="reveal_contacts", code=code)
    before = request_series(metrics)
    metrics.count(ended, status_of(ended).value, 0.1)
    assert request_series(metrics) == before


def test_codes_behind_the_policy_are_those_of_every_tool():
    behind = {Gate.CONSENT, Gate.ACCOUNT, Gate.BUDGET, Gate.FORWARD}
    assert {code.id for code in ErrorCode if code.row.gate in behind} <= TOOL_CODES.keys()
    assert "tool_unknown" in TOOL_CODES
    assert not {"resource_unknown", "prompt_unknown", "token_missing"} & TOOL_CODES.keys()


def test_very_many_tools_begin_with_the_codes_of_alerts():
    """The series of a scrape stay few; a reload with fewer tools begins the others."""
    metrics = Metrics()
    most = MAX_SERIES // len(TOOL_CODES)
    metrics.expect([f"tool{number}" for number in range(most + 1)], [])
    few = request_series(metrics)
    assert few < MAX_SERIES / 2
    labels = {"method": "tools/call", "tool": "tool1"}
    assert value(metrics, "requests_total", **labels, status="failed", code="backend_timeout") == 0
    assert value(metrics, "requests_total", **labels, status="refused", code="quota_exceeded") is None
    metrics.expect([f"other{number}" for number in range(MAX_SERIES)], [])
    assert value(metrics, "requests_total", method="tools/call", tool="other1", status="ok", code="ok") is None
    metrics.expect([f"tool{number}" for number in range(most)], [])
    assert value(metrics, "requests_total", **labels, status="refused", code="quota_exceeded") == 0
    assert request_series(metrics) > MAX_SERIES - len(TOOL_CODES)


def test_one_policy_is_in_force():
    metrics = Metrics()
    metrics.policy("one")
    metrics.policy("one")
    metrics.policy("two")
    assert value(metrics, "policy_info", revision="one") is None
    assert value(metrics, "policy_info", revision="two") == 1


def test_metrics_of_the_contract_are_exposed():
    text = b"".join(Metrics().expose().parts).decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert all(name.startswith(("mcp_sidecar_", "process_")) for name in names)
    for name in (
        *("requests_total", "request_seconds", "backend_seconds", "overhead_seconds", "refusals_total"),
        *("credits_reserved_total", "credits_spent_total", "credits_released_total", "open_holds", "open_streams"),
        *("store_up", "keys_up", "policy_info", "last_reload_success", "files_valid", "build_info"),
    ):
        assert f"mcp_sidecar_{name}" in names


def test_every_gauge_says_how_those_of_several_processes_become_one():
    gauges = [each for each in vars(Metrics()).values() if isinstance(each, Gauge)]
    assert len(gauges) > 20
    assert {each._multiprocess_mode for each in gauges} <= {"livesum", "livemin", "livemax"}


def test_two_processes_are_two_registries():
    first, second = Metrics(), Metrics()
    first.count(exchange(), "ok", 0.1)
    assert b'status="ok"' not in b"".join(second.expose().parts)
