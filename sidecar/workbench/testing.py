"""Runner of a policy's own tests, on the code that serves calls and on the pure model of the store.

`check`, `test`, start and every reload run the same tests; none of them needs a store.
"""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.policy.rules import Policy, PolicyTest
from sidecar.workbench.policy_tests.comparing import compare
from sidecar.workbench.policy_tests.deciding import deciding_line
from sidecar.workbench.policy_tests.sequences import StepOutcome, run_case
from sidecar.workbench.policy_tests.verdicts import NOW, Verdict, account_of, call_of, caller_of, verdict

__all__ = ["NOW", "CaseOutcome", "Verdict", "account_of", "call_of", "caller_of", "run_test", "run_tests", "verdict"]


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """Outcome of one test.

    Attributes:
        name: name of the test.
        rule: `file:line` of the test; of a failed step, of that step.
        expected: the expected outcome as text; of several steps, that of the first that failed, or the last.
        got: the actual outcome of that step as text.
        decided: `file:line` of the policy's rule that decided it; None where the account or no rule did.
        step: number of that step, from 1; None for a test of one call.
        time: number of its repetition, from 1.
    """

    name: str
    rule: str
    expected: str
    got: str
    passed: bool
    decided: str | None = None
    step: int | None = None
    time: int = 1

    @property
    def place(self) -> str:
        """Name of the test with the step and repetition that the outcome is of."""
        if self.step is None:
            return self.name
        return f"{self.name}: step {self.step}" + (f", time {self.time}" if self.time > 1 else "")

    def __str__(self) -> str:
        if self.passed:
            return f"{self.rule}: {self.name}: ok"
        return f"{self.rule}: {self.place}: expected {self.expected}, got {self.got}"


def run_tests(policy: Policy) -> tuple[CaseOutcome, ...]:
    """Run all tests of a policy, in its order."""
    return tuple(run_test(policy, test) for test in policy.tests)


def run_test(policy: Policy, case: PolicyTest) -> CaseOutcome:
    """Run one test of a policy, up to the first step that fails."""
    outcome = None
    for found in run_case(policy, case):
        passed, expected, got = compare(found)
        outcome = _outcome(policy, case, found, expected, got, passed)
        if not passed:
            return outcome
    return outcome or CaseOutcome(case.test.name, case.rule, "a call", "none", False)


def _outcome(
    policy: Policy, case: PolicyTest, found: StepOutcome, expected: str, got: str, passed: bool
) -> CaseOutcome:
    has_steps = case.test.steps is not None
    return CaseOutcome(
        case.test.name,
        case.steps[found.index] if has_steps and not passed else case.rule,
        expected,
        got,
        passed,
        deciding_line(policy, found.subject, found.verdict),
        found.index + 1 if has_steps else None,
        found.time,
    )
