"""Comparison of a step's outcome with the expected one, and both as text in the form of a test. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sidecar.errors import Refusal
from sidecar.model import AmountKind
from sidecar.policy.language.case_models import AllowDocument, ExpectDocument, SettledDocument
from sidecar.policy.language.tests_section import ALLOW, HIDDEN, LISTED
from sidecar.workbench.policy_tests.sequences import CaseCost, StepOutcome

Units = Mapping[str, Mapping[str, int]]
"""Units by name, in the sections `credits` and `quotas`."""


def compare(outcome: StepOutcome) -> tuple[bool, str, str]:
    """Return whether a step has its expected outcome, the expected outcome and the actual one as text."""
    expect, refusal = outcome.step.expect, outcome.verdict.refusal
    if isinstance(expect, ExpectDocument):
        if expect.listed is not None:
            wanted = f"listed [{', '.join(sorted(expect.listed))}]"
            return sorted(expect.listed) == sorted(outcome.listed), wanted, _found(outcome)
        return _priced(outcome, expect)
    if expect in (LISTED, HIDDEN):
        return refusal is None and _visible(outcome) == expect, expect, _found(outcome)
    return expect == (refusal.code.id if refusal else ALLOW), expect, _found(outcome)


def _priced(outcome: StepOutcome, expect: ExpectDocument) -> tuple[bool, str, str]:
    allowed, cost = outcome.verdict.refusal is None, outcome.settlement
    passed = allowed and _agrees(_units(expect.allow), _reserved(outcome))
    wanted = f"{ALLOW}{_braces(_sections(_units(expect.allow)))}"
    got = _found(outcome)
    if expect.settled is None:
        return passed, wanted, got
    wanted += f", settled {_settled_text(expect.settled)}"
    if allowed and cost is not None:
        passed = passed and _agrees(_units(expect.settled), _spent(cost))
        passed = passed and expect.settled.rows in (None, cost.rows)
        got += f", settled {_cost_text(cost)}"
    return passed, wanted, got


def _agrees(wanted: Units, found: Units) -> bool:
    return all(
        found[section].get(name, 0) == units for section, names in wanted.items() for name, units in names.items()
    )


def _visible(outcome: StepOutcome) -> str:
    return LISTED if outcome.step.call.tool in outcome.listed else HIDDEN


# --- units -------------------------------------------------------------------------------------


def _units(document: AllowDocument | SettledDocument) -> Units:
    return {"credits": document.credits, "quotas": document.quotas}


def _reserved(outcome: StepOutcome) -> Units:
    units: dict[str, dict[str, int]] = {"credits": {}, "quotas": {}}
    for price in outcome.verdict.admission.prices if outcome.verdict.admission else ():
        units["credits" if price.kind is AmountKind.CREDIT else "quotas"][price.name] = price.needed
    return units


def _spent(cost: CaseCost) -> Units:
    return {"credits": cost.receipt.paid, "quotas": cost.receipt.used}


# --- text --------------------------------------------------------------------------------------


def _found(outcome: StepOutcome) -> str:
    refusal = outcome.verdict.refusal
    if refusal is not None:
        return _refused(refusal)
    if outcome.step.expect in (LISTED, HIDDEN):
        return _visible(outcome)
    if outcome.step.call.listing is not None:
        return f"listed [{', '.join(sorted(outcome.listed))}]"
    return f"{ALLOW}{_braces(_sections(_reserved(outcome)))}"


def _refused(refusal: Refusal) -> str:
    rule = f"{refusal.rule}: " if refusal.rule else ""
    return f"{refusal.code.id} ({rule}{refusal.detail})"


def _settled_text(settled: SettledDocument) -> str:
    rows = [] if settled.rows is None else [f"rows: {settled.rows}"]
    return f"{{{', '.join([*_sections(_units(settled)), *rows])}}}"


def _cost_text(cost: CaseCost) -> str:
    text = f"{{{', '.join([*_sections(_spent(cost)), f'rows: {_yaml(cost.rows)}'])}}}"
    return f"{text} ({'; '.join(cost.failures)})" if cost.failures else text


def _sections(units: Units) -> list[str]:
    return [
        f"{section}: {{{', '.join(f'{name}: {count}' for name, count in names.items())}}}"
        for section, names in units.items()
        if names
    ]


def _braces(parts: Iterable[str]) -> str:
    joined = ", ".join(parts)
    return f" {{{joined}}}" if joined else ""


def _yaml(rows: int | None) -> str:
    return "null" if rows is None else str(rows)
