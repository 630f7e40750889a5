"""Past calls are explained from the lines that the recorder writes."""

import io
import json
from typing import Any

import pytest

from sidecar.errors import ErrorCode, Gate, Refusal
from sidecar.model import Call, Caller, CallKind, Revision
from sidecar.observe.logs import encode
from sidecar.observe.record import fields
from sidecar.observe.statuses import status_of
from sidecar.outcome import Exchange, Receipt
from sidecar.workbench.explaining.log_search import MAX_SEARCHED_LINE, CallLines, find_call
from sidecar.workbench.explaining.recorded import RecordedCall, recorded
from sidecar.workbench.explaining.remedies import Party, remedy

CALLER = Caller("main", "https://issuer", "ada", "ada", "app", frozenset({"read"}), 0, 9)
CALL = Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/call", 1, {"name": "look"})


def line(refusal: Refusal | None = None, event: str = "call", **more: Any) -> bytes:
    """The line of one exchange, as the recorder writes it."""
    exchange = Exchange(
        "r-1",
        0.0,
        call=CALL,
        caller=CALLER,
        tool="look",
        method="tools/call",
        code=more.pop("code", "ok" if refusal is None else refusal.code.id),
        refusal=refusal,
        http_status=200 if refusal is None else refusal.status,
        rule="p.yaml:7",
        plan="free",
        policy_revision="abc",
        **more,
    )
    return encode({"ts": "now", "level": "info", "event": event, **fields(exchange, status_of(exchange), 0.1)})


def found(*lines: bytes) -> CallLines:
    return find_call(io.BytesIO(b"".join(lines)), "r-1")


def explained(*lines: bytes, revision: str | None = "abc") -> RecordedCall:
    return recorded(found(*lines), revision, {"https://issuer": "main"})


def marks(call: RecordedCall) -> dict[str, bool | None]:
    return {step.gate: step.passed for step in call.steps}


@pytest.mark.parametrize("code", ErrorCode, ids=lambda code: code.id)
def test_every_refusal_is_explained_at_its_gate(code: ErrorCode):
    call = explained(line(Refusal(code)))
    order = list(Gate)
    passed = marks(call)
    assert list(passed) == order
    assert [gate for gate in order if passed[gate] is False] == [code.row.gate]
    before = order[: order.index(code.row.gate)]
    assert all(passed[gate] for gate in before if gate is not Gate.POLICY)
    assert f"=> {code.id} (HTTP {Refusal(code).status}), recorded in the log" in str(call)
    assert (call.rule, call.revision) == ("p.yaml:7", "abc")
    assert json.loads(json.dumps(call.document()))["code"] == code.id


def test_a_refusal_of_gate_4_comes_after_a_look_at_the_gates_behind_it():
    def behind(code: ErrorCode) -> list[bool | None]:
        passed = marks(explained(line(Refusal(code))))
        return [passed[gate] for gate in (Gate.CONSENT, Gate.ACCOUNT, Gate.BUDGET, Gate.FORWARD)]

    assert behind(ErrorCode.CONFIRMATION_REQUIRED) == [True, True, True, None]
    assert behind(ErrorCode.ARGUMENTS_REFUSED) == [True, True, None, None]
    assert behind(ErrorCode.TOOL_UNKNOWN) == [True, True, None, None]
    assert behind(ErrorCode.CONSENT_MISSING) == [False, None, None, None]
    assert marks(explained(line(Refusal(ErrorCode.CONSENT_MISSING))))[Gate.POLICY] is None
    assert marks(explained(line(Refusal(ErrorCode.QUOTA_EXCEEDED))))[Gate.POLICY] is True
    assert marks(explained(line(Refusal(ErrorCode.STORE_UNAVAILABLE))))[Gate.POLICY] is None


DETAILS = [
    (
        ErrorCode.QUOTA_EXCEEDED,
        {"quota": "rows", "needed": 5, "left": 3, "limit": 9, "window": "day", "resets": 60},
        "wait 60 s, ask for at most 3, or raise the account's own limit: "
        "`mcp-sidecar account set ada --quota rows.day=N` (and --create if the store has no record of it)",
    ),
    (
        ErrorCode.QUOTA_EXCEEDED,
        {"quota": "rows", "needed": 50, "left": 3, "limit": 9, "window": "day"},
        "ask for at most 9 of rows",
    ),
    (
        ErrorCode.INSUFFICIENT_CREDITS,
        {"pool": "coin", "needed": 5, "left": 3},
        "`mcp-sidecar credits grant ada coin 2` (and --create if the store has no record of it)",
    ),
    (
        ErrorCode.ARGUMENTS_REFUSED,
        {"argument": "arguments.limit", "keyword": "maximum", "arguments": "limit must be at most 9."},
        "change arguments.limit so that the schema's maximum accepts it",
    ),
    (ErrorCode.INSUFFICIENT_SCOPE, {"missing_scopes": "read write"}, "a token and a consent with read write"),
    (ErrorCode.CONSENT_REVOKED, {}, "`mcp-sidecar consent grant ada app`"),
    (ErrorCode.ACCOUNT_DISABLED, {}, "`mcp-sidecar account set ada --status active`"),
    (
        ErrorCode.CONFIRMATION_REQUIRED,
        {"argument": "arguments.sure", "keyword": "confirm"},
        "repeat the call with arguments.sure set to JSON true",
    ),
]


@pytest.mark.parametrize(("code", "specifics", "said"), DETAILS)
def test_the_detail_becomes_what_would_make_the_call_pass(code: ErrorCode, specifics: dict[str, Any], said: str):
    call = explained(line(Refusal(code, specifics=specifics)))
    assert said in str(call)
    assert call.detail == specifics
    for name, value in specifics.items():
        assert f"{name} {value}" in str(call)


def test_every_refusal_behind_the_message_has_a_remedy():
    pure = {Gate.POLICY, Gate.CONSENT, Gate.ACCOUNT, Gate.BUDGET}
    without = [c.id for c in ErrorCode if c.row.gate in pure and remedy(c.id, {}, Party("a", "c")) is None]
    assert without == []


def test_names_of_a_remedy_are_quoted_for_a_shell():
    assert remedy("consent_missing", {}, Party("a b", "$(x)", "two")) == (
        "`mcp-sidecar consent grant 'a b' '$(x)' --issuer two`"
    )


def test_an_allowed_call_shows_its_cost_and_one_that_was_settled_later_that_cost():
    receipt = Receipt({"coin": 2}, {})
    call = explained(line(receipt=receipt))
    assert set(marks(call).values()) == {True}
    assert "credits charged: 2 coin" in str(call)
    later = explained(line(code="deferred"), line(event="settled", receipt=receipt))
    assert later.facts["credits"] == {"coin": 2}
    assert "the response has not passed yet" not in str(later)
    assert "the response has not passed yet" in str(explained(line(code="deferred")))


def test_a_policy_that_has_changed_since_is_reported():
    text = str(explained(line(), revision="def"))
    assert "note: the policy on disk is revision def and the line's is abc: its lines may have moved" in text
    assert "note: " not in str(explained(line()))
    assert "the policy on disk does not load" in str(explained(line(), revision=None))


# --- the search --------------------------------------------------------------------------------


def test_only_lines_of_the_call_are_found_whatever_surrounds_them():
    own = line()
    other = own.replace(b'"r-1"', b'"r-2"')
    wrapped = json.dumps({"log": own.decode(), "stream": "stdout"}).encode() + b"\n"
    mention = b'{"event":"call","request_id":"r-2","notes":["r-1"]}\n'
    for text in (own, own.removesuffix(b"\n"), b"2026-11-23T06:47:08Z stdout F " + own, wrapped):
        lines = found(other, mention, b"not json r-1\n", b"{r-1\n", b"\xff r-1\n", text)
        assert lines.call is not None
        assert lines.call["request_id"] == "r-1"
    assert found(other, mention, b'{"event": "reloaded", "request_id": "r-1"}\n').call is None
    assert found().searched == 0


def test_a_line_without_an_end_costs_no_memory_and_hides_no_other():
    class Endless(io.RawIOBase):
        """A line of 40 MB, then the call's own."""

        def __init__(self) -> None:
            self.left, self.last, self.most = 640, [b"\n", line()], 0

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size == MAX_SEARCHED_LINE
            if self.left:
                self.left -= 1
                return b"r-1 " * (MAX_SEARCHED_LINE // 4)
            return self.last.pop(0) if self.last else b""

    lines = find_call(Endless(), "r-1")  # type: ignore[arg-type]
    assert lines.call is not None
    assert lines.searched == 2


def test_json_nested_too_deep_is_no_line():
    assert found(b'{"r-1":' * 5000 + b"}" * 5000 + b"\n", line()).call is not None
