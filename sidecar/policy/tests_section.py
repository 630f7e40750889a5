"""Checks the `tests` of a policy: a test that names nothing real would pass for the wrong reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sidecar.config.documents import Path
from sidecar.errors import ErrorCode, Gate
from sidecar.model import Window
from sidecar.policy.checking import Checker
from sidecar.policy.models import ConsentDocument, ExpectDocument, TestCallDocument, TestCallerDocument, TestDocument

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


_NAMED: Final[Mapping[str, tuple[str, ...]]] = {
    "resources/read": ("resource",),
    "resources/subscribe": ("resource",),
    "resources/unsubscribe": ("resource",),
    "prompts/get": ("prompt",),
    "completion/complete": ("prompt", "resource"),
    "subscriptions/listen": ("resource",),
}
"""What a method may be about."""


def call_mistake(call: TestCallDocument) -> tuple[str, str] | None:
    """What is wrong with the call of a test, and what is accepted; None for nothing."""
    about = [name for name in ("tool", "resource", "prompt") if getattr(call, name) is not None]
    if len(about) > 1:
        return f"names {' and '.join(about)}", "one of them"
    if not about and call.method is None:
        return "names nothing to call", "tool, resource, prompt or method"
    if call.method == "tools/call" or (call.method is not None and call.tool is not None):
        return "a tool is called by its name", "tool: NAME, arguments: {...}"
    if call.arguments and call.tool is None and (call.prompt is None or call.method not in (None, "prompts/get")):
        return "gives arguments to what takes none", "arguments beside tool or prompt"
    return None if call.method is None else _about_mistake(call.method, about)


def _about_mistake(method: str, about: list[str]) -> tuple[str, str] | None:
    accepted = _NAMED.get(method, ())
    if about and about[0] not in accepted:
        return f"{method} is about no {about[0]}", " or ".join(accepted) or "the method alone"
    if not about and accepted and method != "subscriptions/listen":
        return f"does not say what {method} is about", " or ".join(accepted)
    return None


def check_test(checker: Checker, test: TestDocument, windows: Mapping[str, Window], path: Path) -> None:
    """Check everything that one test names."""
    mistake = call_mistake(test.call)
    if mistake is not None:
        checker.wrong((*path, "call"), *mistake)
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
