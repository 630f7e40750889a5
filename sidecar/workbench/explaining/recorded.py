"""Recorded decision of a past call, gate by gate, from its line in the log. Pure.

The line has the one refusal that was answered. Gates before it passed; a refusal of gate 4 was answered after gates
5-7 had been looked at, as far as the call could be priced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sidecar.errors import ErrorCode, Gate
from sidecar.workbench.explaining.log_search import CallLines
from sidecar.workbench.explaining.remedies import Party, remedy
from sidecar.workbench.explanation import MARKS, Step

_ORDER: Final = tuple(Gate)
_ASKED: Final = {
    Gate.TRANSPORT: "HTTP request",
    Gate.TOKEN: "token",
    Gate.MESSAGE: "message",
    Gate.POLICY: "rules",
    Gate.CONSENT: "consent",
    Gate.ACCOUNT: "account",
    Gate.BUDGET: "price",
    Gate.FORWARD: "backend",
}
# Gates that were looked at before a refusal of gate 4 was answered; the price only for a confirmation.
_LOOKED: Final = (Gate.CONSENT, Gate.ACCOUNT, Gate.BUDGET)
_UNDECLARED: Final = frozenset({"tool_unknown", "resource_unknown", "prompt_unknown", "method_not_allowed"})
_PRICED: Final = frozenset({"quota_exceeded", "insufficient_credits"})
_DISABLED_ONLY: Final = "the account is enabled; its plan was not compared"
_SHOWN: Final = (
    *("ts", "issuer", "account", "client_id", "method", "tool", "plan", "scopes", "status", "code", "http_status"),
    *("credits", "rows", "latency_ms", "backend_ms", "trace_id", "stream_end"),
)


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """Decision about a past call.

    Attributes:
        facts: fields of the line that are not null.
        rule: `file:line` that decided.
        revision: revision of the policy that decided.
        detail: the values that the gate compared.
        notes: sentences of the line, and those about the line.
        rule_text: text of the rule's line; None unless the policy on disk is the one that decided.
    """

    request_id: str
    facts: Mapping[str, Any]
    steps: tuple[Step, ...]
    code: str
    rule: str | None
    revision: str | None
    detail: Mapping[str, Any]
    notes: tuple[str, ...]
    rule_text: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the decision as plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def recorded(
    lines: CallLines, revision: str | None, issuers: Mapping[str, str], rule_text: str | None = None
) -> RecordedCall:
    """Explain a call by its lines.

    Args:
        lines: the lines, with at least one.
        revision: revision of the policy on disk; None when it could not be loaded.
        issuers: id of each configured issuer, by its URL; one is not named in commands.
        rule_text: text of the rule's line in the policy on disk, if that is the line's policy.
    """
    line = lines.call or lines.settled or {}
    settled = lines.settled or {}
    detail = line.get("detail")
    specifics: Mapping[str, Any] = detail if isinstance(detail, dict) else {}
    facts = {name: line[name] for name in _SHOWN if line.get(name) is not None}
    if lines.settled is not None:
        facts |= {name: settled[name] for name in ("credits", "rows") if settled.get(name) is not None}
    return RecordedCall(
        str(line.get("request_id")),
        facts,
        tuple(_steps(line, specifics, _party(line, issuers))),
        str(line.get("code")),
        _text(line.get("rule")),
        _text(line.get("revision")),
        specifics,
        (*_notes(line), *_notes(settled), *_about(lines, revision)),
        rule_text,
    )


def _party(line: Mapping[str, Any], issuers: Mapping[str, str]) -> Party:
    issuer = issuers.get(str(line.get("issuer"))) if len(issuers) > 1 else None
    return Party(str(line.get("account") or "ACCOUNT"), str(line.get("client_id") or "CLIENT"), issuer)


def _notes(line: Mapping[str, Any]) -> tuple[str, ...]:
    notes = line.get("notes")
    return tuple(str(note) for note in notes) if isinstance(notes, list) else ()


def _about(lines: CallLines, revision: str | None) -> Iterator[str]:
    line = lines.call
    if line is None:
        yield "the log has only the settlement of this call"
        return
    if line.get("truncated"):
        yield "the line was too long, so fields were left out"
    known = _text(line.get("revision"))
    if revision is None:
        yield "the policy on disk does not load, so it was not compared with the line's revision"
    elif known is not None and known != revision:
        yield f"the policy on disk is revision {revision} and the line's is {known}: its lines may have moved"
    if line.get("code") == "deferred" and lines.settled is None:
        yield "the response has not passed yet; a line `settled` follows"


# --- gates -------------------------------------------------------------------------------------


def _steps(line: Mapping[str, Any], detail: Mapping[str, Any], party: Party) -> Iterator[Step]:
    gate, code = line.get("gate"), str(line.get("code"))
    known = [each for each in _ORDER if each.value == gate]
    if not known:
        yield from (Step(each, _ASKED[each], True, _passed(each, line)) for each in _ORDER)
        return
    refused = known[0]
    for each in _ORDER:
        if each is refused:
            rule, fix = _text(line.get("rule")), remedy(code, detail, party)
            yield Step(each, _ASKED[each], False, _found(code, detail), rule, fix)
        elif _ORDER.index(each) < _ORDER.index(refused):
            yield _earlier(each, refused, line)
        else:
            yield _later(each, refused, code, line)


def _earlier(gate: Gate, refused: Gate, line: Mapping[str, Any]) -> Step:
    if gate is Gate.POLICY and line.get("code") in _PRICED:
        says = "scopes and arguments passed; a confirmation is asked for after the price"
        return Step(gate, _ASKED[gate], True, says)
    if gate is Gate.POLICY and refused in _LOOKED:
        # The refusals of gates 5-7 come first, also before one of gate 4.
        return Step(gate, _ASKED[gate], None, "not recorded: a refusal of a later gate is answered first")
    return Step(gate, _ASKED[gate], True, _passed(gate, line))


def _later(gate: Gate, refused: Gate, code: str, line: Mapping[str, Any]) -> Step:
    looked = refused is Gate.POLICY and gate in _LOOKED
    if looked and gate is Gate.ACCOUNT and code in _UNDECLARED:
        return Step(gate, _ASKED[gate], True, _DISABLED_ONLY)
    if looked and (gate is not Gate.BUDGET or code == "confirmation_required"):
        return Step(gate, _ASKED[gate], True, _passed(gate, line))
    return Step(gate, _ASKED[gate], None, "not reached")


def _passed(gate: Gate, line: Mapping[str, Any]) -> str:
    if gate is Gate.TOKEN and line.get("account") is not None:
        return f"issued for account {line['account']}, client {line.get('client_id')}"
    if gate is Gate.POLICY and line.get("rule") is not None:
        return f"allowed by {line['rule']}"
    if gate is Gate.ACCOUNT and line.get("plan") is not None:
        return f"plan {line['plan']}"
    if gate is Gate.BUDGET and isinstance(line.get("credits"), dict):
        paid = ", ".join(f"{units} {pool}" for pool, units in line["credits"].items())
        return f"credits charged: {paid or 'none'}"
    if gate is Gate.FORWARD:
        return f"{line.get('status')}, {line.get('code')}"
    return "passed"


def _found(code: str, detail: Mapping[str, Any]) -> str:
    found = ", ".join(f"{name} {value}" for name, value in detail.items())
    known = next((each for each in ErrorCode if each.id == code), None)
    sentence = "" if known is None else f"{known.row.sentence} "
    return f"{code}: {found}" if found else f"{code}: {sentence}".strip()


def _text(value: object) -> str | None:
    return None if value is None else str(value)


# --- text --------------------------------------------------------------------------------------


def _lines(call: RecordedCall) -> Iterator[str]:
    facts = call.facts
    yield f"{facts.get('tool') or facts.get('method') or 'request'}, request {call.request_id}, at {facts.get('ts')}"
    yield f"policy revision {call.revision or 'unknown'}; token scopes: {facts.get('scopes') or 'none'}"
    yield ""
    for step in call.steps:
        rule = f"  [{step.rule}]" if step.rule else ""
        yield f"  {step.gate:<9} {step.question:<12} {MARKS[step.passed]:<4}  {step.says}{rule}"
        if step.remedy is not None:
            yield f"  {'':<9} {'to pass':<12} {'':<4}  {step.remedy}"
    yield ""
    yield f"=> {call.code} (HTTP {facts.get('http_status')}), recorded in the log"
    if call.rule_text is not None:
        yield f"{call.rule}: {call.rule_text}"
    yield from (f"note: {note}" for note in call.notes)
