"""What `explain` found out about one call: question by question, as text and as plain values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

ALLOW: Final = "allow"

ASSUMED: Final = (
    "the client is approved, the account is enabled, has used nothing and has bought no credits; "
    "what the store knows was not asked"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One question that a gate asks.

    Attributes:
        gate: which gate.
        question: what is asked.
        passed: None where it was not asked, because something before it refuses.
        says: the answer.
        rule: `file:line` of the rule that answers, if one does.
    """

    gate: str
    question: str
    passed: bool | None
    says: str
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Reserve:
    """One amount that the call would reserve.

    Attributes:
        kind: `quota` or `credit`.
        computed: how the policy computes it.
        needed: units, if no item was paid before.
        left: what an unused account would have; None without a limit.
        limit: the limit of the tightest window, for quotas.
        rule: `file:line`.
    """

    kind: str
    name: str
    computed: str
    needed: int
    left: int | None
    limit: int | None
    window: str | None
    rule: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of one call.

    Attributes:
        call: what is called: tool, resource, prompt or method, by that name.
        outcome: `allow`, or the code of the refusal.
        sentence: what the caller reads of a refusal.
        status: HTTP status of a refusal.
        shape: how a refusal is put on the wire.
        data: machine detail of a refusal.
        rule: `file:line` that decided.
        revision: of the policy.
        scopes: what a challenge asks for.
    """

    call: Mapping[str, str]
    caller: Mapping[str, Any]
    steps: tuple[Step, ...]
    price: tuple[Reserve, ...]
    outcome: str
    sentence: str | None = None
    status: int | None = None
    shape: str | None = None
    data: Mapping[str, Any] | None = None
    rule: str | None = None
    scopes: tuple[str, ...] = ()
    revision: str = ""
    assumed: str = ASSUMED

    def document(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


# --- text --------------------------------------------------------------------------------------

_MARKS: Final = {True: "pass", False: "FAIL", None: "-"}


def _lines(told: Explanation) -> Iterator[str]:
    yield f"{' '.join(told.call.values())}, policy revision {told.revision}"
    if told.caller:
        yield f"token scopes: {' '.join(told.caller['scopes']) or 'none'}"
    yield ""
    for step in told.steps:
        rule = f"  [{step.rule}]" if step.rule else ""
        yield f"  {step.gate:<8} {step.question:<12} {_MARKS[step.passed]:<4}  {step.says}{rule}"
    for each in told.price:
        unit = "credits" if each.kind == "credit" else "quota"
        yield f"  {'':<8} {'reserve':<12} {'':<4}  {each.needed} of {unit} {each.name}: {each.computed}  [{each.rule}]"
    yield ""
    if told.outcome == ALLOW:
        yield "=> allow"
    else:
        yield f"=> {told.outcome} (HTTP {told.status}, {told.shape}): {told.sentence}"
        if told.scopes:
            yield f"   a challenge asks for: {' '.join(told.scopes)}"
    if told.caller:
        yield f"assumed: {told.assumed}"
