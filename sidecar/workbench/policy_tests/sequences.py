"""Steps of a case, one after another on one account of the pure model.

A call that is allowed is settled before the next step: by the `result` that the step gives, else at its reserved
price, as when the backend delivers everything that was requested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.errors import Refusal
from sidecar.ledger.accounts import AccountState
from sidecar.ledger.settlement import action, release, settle
from sidecar.model import Call, Caller
from sidecar.outcome import Action, Charge, Event, Receipt
from sidecar.policy import pricing
from sidecar.policy.language.case_models import TestStepDocument
from sidecar.policy.lookup import subject_of
from sidecar.policy.pricing import SettledPrice
from sidecar.policy.rules import Operation, Policy, PolicyTest, Subject
from sidecar.protocol.results import outcome_of
from sidecar.workbench.policy_tests.verdicts import NOW, Verdict, account_of, call_of, caller_of, verdict

_LEASE = 120_000


@dataclass(frozen=True, slots=True)
class CaseCost:
    """Cost of an allowed call.

    Attributes:
        priced: True when the backend's result was priced.
        rows: rows of the result; None without a number.
        failures: amounts that the result could not price, as sentences.
    """

    receipt: Receipt
    priced: bool = False
    rows: int | None = None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """Outcome of one call of a case.

    Attributes:
        index: number of the step in its case, from 0.
        time: number of the repetition, from 1.
        plan: the account's plan, `default_plan` included.
        subject: the declared operations that the call names; None without one.
        verdict: outcome at gates 4-7.
        settlement: None when the call was refused.
        listed: the tools that the caller sees, for steps about `tools/list`.
    """

    index: int
    time: int
    step: TestStepDocument
    plan: str | None
    subject: Subject | None
    verdict: Verdict
    settlement: CaseCost | None = None
    listed: tuple[str, ...] = ()


def run_case(policy: Policy, case: PolicyTest) -> Iterator[StepOutcome]:
    """Yield the outcome of each call of a case, repetitions included."""
    test, now = case.test, NOW
    caller, state = caller_of(test.caller), account_of(policy, test.caller)
    plan = (test.caller.plan or policy.default_plan) if policy.plans is not None else None
    for index, step in enumerate(test.sequence):
        now += round((step.after or 0) * 1000)
        call = call_of(_asked(step))
        subject = _subject(policy, call)
        for time in range(1, step.times + 1):
            found = verdict(policy, call, caller, state, now, f"{index}.{time}", confirmation=step.call.confirmation)
            assert found.account is not None  # noqa: S101 - the pure model returns it
            state, settlement = found.account, None
            if found.refusal is None:
                operation = None if subject is None else subject.operation
                settlement, state = _settle(operation, step, found, state, now)
            listed = _listed(policy, caller, found) if call.method == "tools/list" else ()
            yield StepOutcome(index, time, step, plan, subject, found, settlement, listed)


def is_listing(step: TestStepDocument) -> bool:
    """Return True for a step about the tools that the caller sees."""
    return step.call.listing is not None or step.expect in ("listed", "hidden")


def _asked(step: TestStepDocument) -> Any:
    from_list = step.call.model_copy(update={"tool": None, "listing": "tools"})
    return from_list if is_listing(step) else step.call


def _subject(policy: Policy, call: Call) -> Subject | None:
    try:
        return subject_of(policy, call)
    except Refusal:
        return None


def _listed(policy: Policy, caller: Caller, found: Verdict) -> tuple[str, ...]:
    """Return the declared tools that `tools/list` shows, provided that the backend has them."""
    if found.refusal is not None or found.admission is None:
        return ()
    scopes = policy.effective(caller.scopes, found.admission.consent_scopes)
    return tuple(name for name in policy.tools if policy.listed(name, scopes, found.admission.plan))


# --- settlement --------------------------------------------------------------------------------


def _settle(
    operation: Operation | None, step: TestStepDocument, found: Verdict, state: AccountState, now: int
) -> tuple[CaseCost, AccountState]:
    """Resolve the hold of an allowed call by the backend's answer."""
    decision, (event, result) = found.decision, _answer(step.result)
    charge_errors = operation is not None and operation.charge_errors
    todo = action(event, decision.on_unknown, charge_errors)
    price = SettledPrice(())
    priced = operation is not None and result is not None and todo is Action.CHARGE_RESULT
    if priced and operation is not None and result is not None:
        price = pricing.charges(operation.prices, decision.demands, decision.arguments, decision.meta, result)
    receipt, state = _resolved(state, todo, price.charges, now)
    return CaseCost(receipt, priced, price.rows, price.failures), state


def _answer(result: str | Mapping[str, Any] | None) -> tuple[Event, Mapping[str, Any] | None]:
    if result is None:
        return Event.RESULT, None
    if isinstance(result, str):
        return (Event.RPC_ERROR if result == "error" else Event.TIMED_OUT), None
    return outcome_of(result), result


def _resolved(state: AccountState, todo: Action, charges: Sequence[Charge], now: int) -> tuple[Receipt, AccountState]:
    call_id = next(iter(state.holds), None)
    if call_id is None:
        return Receipt(), state
    if todo is Action.RELEASE:
        receipt, state = release(state, call_id, forwarded=True, now=now, lease=_LEASE)
    else:
        receipt, state = settle(state, call_id, charges or None, now=now, lease=_LEASE)
    state.resolved.clear()  # no step repeats a call's id
    return receipt, state
