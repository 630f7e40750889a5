"""The line of a policy that decided one call."""

from __future__ import annotations

from sidecar.policy.rules import Policy, Subject
from sidecar.workbench.policy_tests.verdicts import Verdict


def deciding_line(policy: Policy, subject: Subject | None, found: Verdict) -> str | None:
    """Return `file:line` of the rule that decided a call; None where the account or no rule did."""
    if found.refusal is None:
        return found.decision.rule
    if found.refusal.rule is not None or found.admission is None:
        return found.refusal.rule
    return policy.refusing_rule(None if subject is None else subject.operation, found.admission)
