"""Checks the `tests` of a policy: a test that names nothing real would pass for the wrong reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sidecar.config.documents import Path
from sidecar.errors import ErrorCode, Gate
from sidecar.model import Window
from sidecar.policy.checking import Checker
from sidecar.policy.models import ConsentDocument, ExpectDocument, TestCallerDocument, TestDocument

ALLOW: Final = "allow"

OUTCOMES: Final = (
    ALLOW,
    *(
        code.id
        for code in ErrorCode
        if code.row.gate in (Gate.POLICY, Gate.CONSENT, Gate.ACCOUNT, Gate.BUDGET)
        and code is not ErrorCode.STORE_UNAVAILABLE
    ),
    ErrorCode.PARAMS_MALFORMED.id,
)
"""What a test may expect: what a policy and an account's state can bring about."""


def check_test(checker: Checker, test: TestDocument, windows: Mapping[str, Window], path: Path) -> None:
    """Check everything that one test names."""
    if (test.call.tool is None) == (test.call.method is None):
        checker.wrong((*path, "call"), "names neither or both of tool and method", "one of tool, method")
    elif test.call.method is not None and (test.call.arguments or test.call.method == "tools/call"):
        checker.wrong((*path, "call"), "a tool is called by its name", "tool: NAME, arguments: {...}")
    _check_caller(checker, test.caller, windows, (*path, "caller"))
    _check_expected(checker, test, (*path, "expect"))


def _check_caller(checker: Checker, caller: TestCallerDocument, windows: Mapping[str, Window], path: Path) -> None:
    # A token may carry scopes of other resources, so only the consent's are held to the policy's.
    if isinstance(caller.consent, ConsentDocument):
        checker.known("scopes", caller.consent.scopes, (*path, "consent", "scopes"))
    if caller.plan is not None and not checker.declared("plans", caller.plan):
        checker.unknown("plans", caller.plan, (*path, "plan"))
    for part, section in (("credits", "credits"), ("included", "credits"), ("quotas", "quotas")):
        for name in getattr(caller, part):
            if not checker.declared(section, name):
                checker.unknown(section, name, (*path, part, name), at_key=True)
    for name in caller.paid:
        if not checker.declared("credits", name) and not checker.declared("quotas", name):
            checker.unknown("credits", name, (*path, "paid", name), at_key=True)
    for name in caller.included:
        if checker.declared("credits", name) and name not in windows:
            checker.wrong((*path, "included", name), "no plan includes these credits", "credits for the balance")


def _check_expected(checker: Checker, test: TestDocument, path: Path) -> None:
    if not isinstance(test.expect, ExpectDocument):
        if test.expect not in OUTCOMES:
            checker.wrong(path, f"{test.expect!r} is no outcome", f"{', '.join(OUTCOMES)}, or {{allow: ...}}")
        return
    for section in ("credits", "quotas"):
        for name in getattr(test.expect.allow, section):
            if not checker.declared(section, name):
                checker.unknown(section, name, (*path, "allow", section, name), at_key=True)
