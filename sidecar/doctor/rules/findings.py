"""Findings of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Severity of a finding, as printed."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        check: the subject, such as `challenge`.
        severity: `fail` keeps clients out; `warn` keeps some out, or weakens a guard.
        says: the value that was found.
        fix: the change that cures it; empty for `ok`.
    """

    check: str
    severity: Severity
    says: str
    fix: str = ""


def ok(check: str, says: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(check, Severity.OK, says)


def warn(check: str, says: str, fix: str) -> Finding:
    """Return a finding that keeps some clients out."""
    return Finding(check, Severity.WARN, says, fix)


def fail(check: str, says: str, fix: str) -> Finding:
    """Return a finding that keeps clients out."""
    return Finding(check, Severity.FAIL, says, fix)


def unchecked(check: str, says: str, fix: str = "") -> Finding:
    """Return a finding of a check that was not made."""
    return Finding(check, Severity.UNCHECKED, says, fix)
