"""Lines of usual calls: the same bytes as the complete rules write, whatever differs between two calls."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ErrorCode, Refusal, ShadowRefusal
from sidecar.identity.invalid_token import invalid
from sidecar.model import Call, Caller, CallKind, Revision
from sidecar.observe.formats.usual_lines import MOST, UsualLines
from sidecar.observe.logs import encode
from sidecar.observe.record import fields
from sidecar.observe.statuses import status_of
from sidecar.outcome import Exchange, Receipt
from sidecar.system.random_ids import random_id

MOMENT = "2026-11-30T02:00:00.001Z"
CALLER = Caller(
    issuer_id="main",
    issuer="https://example.com/a?key=hidden",
    subject="s",
    account='a"c\\me \u00e9',
    client_id="https://client.example/id",
    scopes=frozenset({"stores:read", "contacts:reveal"}),
    issued_at=0,
    expires_at=9,
)
CALL = Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/call", 1, {"name": "search"})
UNSCOPED = Refusal(ErrorCode.INSUFFICIENT_SCOPE, specifics={"missing_scopes": "stores:read"}, recurs=True)
UNVERIFIED = invalid("no key made its signature", check="signature", found='k"\u00e9').replace(recurs=True)
REFUSED: dict[str, Any] = {"refusal": UNSCOPED, "code": UNSCOPED.code.id, "backend_seconds": None, "trace_id": None}
UNKNOWN = REFUSED | {"refusal": UNVERIFIED, "code": UNVERIFIED.code.id, "caller": None, "call": None}


def exchange(**values: Any) -> Exchange:
    usual: dict[str, Any] = {"call": CALL, "caller": CALLER, "method": "tools/call", "tool": "search"}
    usual |= {"http_status": 200, "backend_seconds": 0.0123456, "trace_id": random_id(), "rule": "p.yaml:40"}
    return Exchange(random_id(), 100.0, **(usual | values))


def complete(made: Exchange, seconds: float) -> bytes:
    return encode({"ts": MOMENT, "level": "info", "event": "call", **fields(made, status_of(made), seconds)})


def usual(lines: UsualLines, made: Exchange, seconds: float) -> bytes | None:
    return lines.line(MOMENT, "info", made, status_of(made), seconds)


@pytest.fixture
def lines() -> UsualLines:
    return UsualLines(fields, encode)


@pytest.mark.parametrize("seconds", [0.0, 0.0000004, 0.0005, 0.0123456, 1.0, 86_400.123])
def test_a_line_is_the_same_when_its_text_is_new_and_when_it_recurs(lines: UsualLines, seconds: float):
    for made in (exchange(), exchange(), exchange(backend_seconds=seconds)):
        assert usual(lines, made, seconds) == complete(made, seconds)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.booleans())
def test_durations_are_printed_as_floats_are(seconds: float, backend: float, begins: bool):
    lines = UsualLines(fields, encode)
    made = exchange(backend_seconds=backend)
    if begins:  # the trace is that of the request itself, as where a client has none
        made = replace(made, trace_id=made.request_id)
    assert usual(lines, made, seconds) == complete(made, seconds)


@pytest.mark.parametrize("id_", ['a"b', "a\\b", "a\u00e9b", "a b"])
def test_an_id_that_is_no_word_is_left_to_the_complete_rules(lines: UsualLines, id_: str):
    assert usual(lines, replace(exchange(), request_id=id_, trace_id=id_), 1.0) is None


@pytest.mark.parametrize(
    "values",
    [
        {"caller": replace(CALLER, issuer="https://other.example")},
        {"caller": replace(CALLER, account="other")},
        {"caller": replace(CALLER, client_id="other")},
        {"caller": replace(CALLER, scopes=frozenset({"stores:read"}))},
        {"method": None},
        {"tool": "other"},
        {"code": "tool_error"},
        {"code": "no code"},
        {"rule": None},
        {"http_status": 202},
        {"plan": "growth"},
        {"policy_revision": "def"},
        {"call": replace(CALL, revision=Revision.V2025_11_25)},
        {"trace_id": "0" * 33},
        {"rows": 2},
        {"rows": 0, "receipt": Receipt({}, {"requests": 1})},
        {"rows": 10**15, "receipt": Receipt({"contact": 2, "other": 0}, {})},
        {"plan": "100%", "rule": "%s.yaml:40"},
        REFUSED,
        REFUSED | {"rule": "p.yaml:41"},
        REFUSED | {"refusal": UNSCOPED.replace(log="a reason", recurs=True)},
        REFUSED | {"refusal": UNSCOPED.replace(specifics={"missing_scopes": "a b"}, recurs=True)},
        UNKNOWN,
        UNKNOWN | {"http_status": 401, "method": None, "tool": None, "rule": None},
    ],
)
def test_every_value_that_differs_has_a_text_of_its_own(lines: UsualLines, values: dict[str, Any]):
    for made in (exchange(), exchange(**values), exchange()):
        assert usual(lines, made, 0.5) == complete(made, 0.5)


@pytest.mark.parametrize(
    "values",
    [
        {"caller": None},
        {"call": None},
        {"backend_seconds": None},
        {"trace_id": None},
        {"trace_id": '"}'},
        {"trace_id": "\u0663"},
        {"refusal": Refusal(ErrorCode.QUOTA_EXCEEDED)},
        {"notes": ("rows: not an integer",)},
        {"shadow": (ShadowRefusal("p.yaml:50", ErrorCode.PLAN_REQUIRED),)},
        {"stream_end": "token_expired"},
        {"hold_lost": True},
        {"receipt": Receipt(late=True)},
        {"receipt": Receipt({"\x7f": 2}, {})},
        REFUSED | {"refusal": UNSCOPED.replace()},
        REFUSED | {"caller": None},
        REFUSED | {"call": None},
        UNKNOWN | {"refusal": UNVERIFIED.replace()},
    ],
)
def test_other_calls_are_left_to_the_complete_rules(lines: UsualLines, values: dict[str, Any]):
    assert usual(lines, exchange(), 0.5) is not None
    assert usual(lines, exchange(**values), 0.5) is None


def test_a_line_that_is_too_long_is_left_to_the_complete_rules(lines: UsualLines):
    long = exchange(caller=replace(CALLER, account="\u00e9" * 250, client_id="\u00e9" * 250, issuer="\u00e9" * 250))
    assert json.loads(complete(long, 0.5))["truncated"]
    assert usual(lines, long, 0.5) is None


def test_the_texts_that_are_remembered_are_bounded(lines: UsualLines):
    for number in range(MOST + 2):
        made = exchange(caller=replace(CALLER, account=str(number)))
        assert usual(lines, made, 0.5) == complete(made, 0.5)
        assert len(lines) <= MOST
    assert len(lines) == 2


def test_lines_without_a_caller_are_bounded_and_evict_no_others(lines: UsualLines):
    assert usual(lines, exchange(), 0.5)
    for _ in range(MOST + 2):
        made = exchange(**UNKNOWN | {"refusal": UNVERIFIED.replace(recurs=True)})
        assert usual(lines, made, 0.5) == complete(made, 0.5)
        assert len(lines) <= MOST + 1
    assert len(lines) == 3
