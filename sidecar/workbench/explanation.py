"""Result of `explain` for one call: its steps, as text and as plain values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sidecar.workbench.token_report import TokenReport

ALLOW: Final = "allow"

ASKED: Final = "nothing: the store was asked, and nothing was written"
"""`Explanation.assumed` of a call that the store was asked about."""
ASSUMED: Final = (
    "the client is approved, the account is enabled, has no usage and no bought credits; the store was not read"
)


@dataclass(frozen=True, slots=True)
class Step:
    """Check of one gate.

    Attributes:
        gate: the gate.
        question: the subject of the check.
        passed: None when an earlier refusal makes the check unnecessary.
        says: the finding.
        rule: `file:line` of the rule, if one decides.
        remedy: for a failed check, what would make it pass.
    """

    gate: str
    question: str
    passed: bool | None
    says: str
    rule: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Reserve:
    """One amount that the call would reserve.

    Attributes:
        kind: `quota` or `credit`.
        computed: the policy's computation.
        needed: units; without the store, with no item paid before.
        left: units that are left; without the store, of an account without usage. None without a limit.
        limit: the limit of the tightest window, for quotas.
        resets_in: seconds until that window ends.
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
    resets_in: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Explanation of one call.

    Attributes:
        call: name of the tool, resource, prompt or method, by kind.
        outcome: `allow`, or the code of the refusal.
        sentence: the refusal's message to the caller.
        status: HTTP status of a refusal.
        shape: form of a refusal on the wire.
        data: machine-readable detail of a refusal.
        rule: `file:line` that decided.
        revision: revision of the policy.
        scopes: scopes that a challenge requests.
        assumed: the account's state as far as it was not read.
        token: the checks of the caller's token; None for a caller that the command line describes.
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
    token: TokenReport | None = None

    def document(self) -> dict[str, Any]:
        """Return the explanation as plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


# --- text --------------------------------------------------------------------------------------

MARKS: Final = {True: "pass", False: "FAIL", None: "-"}


def _lines(explanation: Explanation) -> Iterator[str]:
    yield f"{' '.join(explanation.call.values())}, policy revision {explanation.revision}"
    if explanation.caller:
        yield f"token scopes: {' '.join(explanation.caller['scopes']) or 'none'}"
    yield ""
    for step in explanation.steps:
        rule = f"  [{step.rule}]" if step.rule else ""
        yield f"  {step.gate:<8} {step.question:<12} {MARKS[step.passed]:<4}  {step.says}{rule}"
        if step.remedy is not None:
            yield f"  {'':<8} {'to pass':<12} {'':<4}  {step.remedy}"
    for each in explanation.price:
        unit = "credits" if each.kind == "credit" else "quota"
        yield f"  {'':<8} {'reserve':<12} {'':<4}  {each.needed} of {unit} {each.name}: {each.computed}  [{each.rule}]"
        if each.window is not None:
            resets = "" if each.resets_in is None else f", resets in {each.resets_in} s"
            yield f"  {'':<8} {'':<12} {'':<4}  {each.left} of {each.limit} per {each.window} left{resets}"
    yield ""
    if explanation.outcome == ALLOW:
        yield "=> allow"
    else:
        yield f"=> {explanation.outcome} (HTTP {explanation.status}, {explanation.shape}): {explanation.sentence}"
        if explanation.scopes:
            yield f"   a challenge requests: {' '.join(explanation.scopes)}"
    if explanation.caller:
        yield f"assumed: {explanation.assumed}"
