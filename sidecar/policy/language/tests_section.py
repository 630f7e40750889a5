"""Checks of the section `tests`: a test of an undeclared name would pass for the wrong reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sidecar.approval import ConfirmBy
from sidecar.config.documents.merging import Path
from sidecar.config.documents.suggestions import nearest
from sidecar.errors import ErrorCode, Gate
from sidecar.policy.language.case_models import (
    MAX_TIMES,
    AllowDocument,
    ConsentDocument,
    ExpectDocument,
    SettledDocument,
    TestCallDocument,
    TestCallerDocument,
    TestDocument,
    TestStepDocument,
)
from sidecar.policy.language.checking import Checker
from sidecar.window_rules import Window

ALLOW: Final = "allow"
LISTED: Final = "listed"
HIDDEN: Final = "hidden"

OUTCOMES: Final = (
    ALLOW,
    LISTED,
    HIDDEN,
    *(
        code.id
        for code in ErrorCode
        if code.row.gate in (Gate.POLICY, Gate.CONSENT, Gate.ACCOUNT, Gate.BUDGET)
        and code not in (ErrorCode.STORE_UNAVAILABLE, ErrorCode.TOOL_CHANGED, ErrorCode.CONFIRMATION_EXPIRED)
    ),
    ErrorCode.PARAMS_MALFORMED.id,
)
"""Outcomes that a test may expect: those that a policy and an account's state determine."""

_WITHOUT_DECLARATION: Final = (
    ErrorCode.TOOL_UNKNOWN.id,
    *(code.id for code in ErrorCode if code.row.gate in (Gate.CONSENT, Gate.ACCOUNT)),
)
"""Outcomes of a call to a tool that is not declared."""

_NAMED: Final[Mapping[str, tuple[str, ...]]] = {
    "resources/read": ("resource",),
    "resources/subscribe": ("resource",),
    "resources/unsubscribe": ("resource",),
    "prompts/get": ("prompt",),
    "completion/complete": ("prompt", "resource"),
    "subscriptions/listen": ("resource",),
}
"""Kinds of objects that a method may name."""


def call_mistake(call: TestCallDocument) -> tuple[str, str] | None:
    """Return the fault of a test's call and the accepted form; None for a correct call."""
    about = [name for name in ("tool", "resource", "prompt") if getattr(call, name) is not None]
    if call.confirmation is not None and call.tool is None:
        return "has a confirmation, which only a tool has", "confirmation together with tool"
    if call.listing is not None:
        others = [*about, *(["method"] if call.method is not None else []), *(["arguments"] if call.arguments else [])]
        return (f"names list and {others[0]}", "one of them") if others else None
    if len(about) > 1:
        return f"names {' and '.join(about)}", "one of them"
    if not about and call.method is None:
        return "names nothing to call", "tool, resource, prompt or method"
    if call.method == "tools/call" or (call.method is not None and call.tool is not None):
        return "a tool is called by its name", "tool: NAME, arguments: {...}"
    if call.arguments and call.tool is None and (call.prompt is None or call.method not in (None, "prompts/get")):
        return "has arguments although its method takes none", "arguments together with tool or prompt"
    return None if call.method is None else _about_mistake(call.method, about)


def _about_mistake(method: str, about: list[str]) -> tuple[str, str] | None:
    accepted = _NAMED.get(method, ())
    if about and about[0] not in accepted:
        return f"{method} takes no {about[0]}", " or ".join(accepted) or "the method alone"
    if not about and accepted and method != "subscriptions/listen":
        return f"does not say what {method} refers to", " or ".join(accepted)
    return None


def check_test(checker: Checker, test: TestDocument, windows: Mapping[str, Window], path: Path) -> None:
    """Check the form of one test and all names in it."""
    _check_caller(checker, test.caller, windows, (*path, "caller"))
    single = [key for key in ("call", "result", "expect") if getattr(test, key) is not None]
    if test.steps is None:
        for missing in (key for key in ("call", "expect") if key not in single):
            checker.wrong((*path, missing), "required but missing", "call and expect, or steps", at_key=True)
    elif single:
        checker.wrong((*path, single[0]), "is given although the test has steps", "one of them", at_key=True)
    calls = sum(step.times for step in test.sequence)
    if calls > MAX_TIMES:  # start and reload wait for all tests
        checker.wrong((*path, "steps"), f"the steps make {calls} calls", f"at most {MAX_TIMES}", at_key=True)
    for index, step in enumerate(test.sequence):
        _check_step(checker, step, path if test.steps is None else (*path, "steps", index))


def _check_step(checker: Checker, step: TestStepDocument, path: Path) -> None:
    mistake = call_mistake(step.call)
    if mistake is not None:
        checker.wrong((*path, "call"), *mistake)
    expected = (*path, "expect")
    if isinstance(step.expect, ExpectDocument):
        _check_expected(checker, step, step.expect, expected)
    elif step.expect not in OUTCOMES:
        accepted = f"{', '.join(OUTCOMES)}, or {{allow: ...}}"
        checker.wrong(expected, f"{step.expect!r} is no outcome", accepted, near=nearest(step.expect, OUTCOMES))
    elif step.expect in (LISTED, HIDDEN):
        _check_listed_tool(checker, step, path)
    _check_confirmation(checker, step, path)
    tool = step.call.tool
    undeclared = tool is not None and not checker.declared("tools", tool)
    if tool is not None and undeclared and step.expect not in (*_WITHOUT_DECLARATION, LISTED, HIDDEN):
        checker.unknown("tools", tool, (*path, "call", "tool"))
    if step.result is not None and (step.expect != ALLOW and not _is_price(step.expect)):
        # The result of a call that is not forwarded is never read.
        wrong = "the backend answers only a call that is allowed"
        checker.wrong((*path, "result"), wrong, "allow, or {allow: ..., settled: ...} in expect", at_key=True)


def _check_confirmation(checker: Checker, step: TestStepDocument, path: Path) -> None:
    if step.call.confirmation is None or step.call.tool is None:
        return
    tools = checker.document.value.get("tools")
    tool = tools.get(step.call.tool) if isinstance(tools, dict) else None
    confirm = tool.get("confirm") if isinstance(tool, dict) else None
    if not isinstance(confirm, dict) or confirm.get("by", ConfirmBy.ARGUMENT) == ConfirmBy.ARGUMENT:
        wrong = f"no person is asked about {step.call.tool}"
        checker.wrong((*path, "call", "confirmation"), wrong, "a tool with confirm: {by: person}", at_key=True)


def _is_price(expect: str | ExpectDocument) -> bool:
    return isinstance(expect, ExpectDocument) and expect.listed is None


def _check_listed_tool(checker: Checker, step: TestStepDocument, path: Path) -> None:
    tool = step.call.tool
    if tool is None:
        checker.wrong((*path, "expect"), f"{step.expect!r} is the outcome of a tool", "a call with tool")
    elif not checker.declared("tools", tool):
        # A misspelt name is hidden, too.
        checker.unknown("tools", tool, (*path, "call", "tool"))


def _check_caller(checker: Checker, caller: TestCallerDocument, windows: Mapping[str, Window], path: Path) -> None:
    # A token may carry scopes of other resources, so only the consent's scopes must be declared.
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
            checker.wrong((*path, "included", name), "no plan includes these credits", "credits, for the balance")


def _check_expected(checker: Checker, step: TestStepDocument, expect: ExpectDocument, path: Path) -> None:
    given = expect.model_fields_set
    if not given:
        checker.wrong(path, "expects nothing", "allow, settled or listed")
    if (step.call.listing is None) is not (expect.listed is None):
        checker.wrong(
            path, "a list of tools has no price, and a call no list", "{listed: [...]} with call: {list: tools}"
        )
    elif expect.listed is not None and given != {"listed"}:
        checker.wrong(path, "a list of tools has no price", "listed alone")
    checker.known("tools", expect.listed or (), (*path, "listed"))
    if expect.settled is not None and step.result is None:
        checker.wrong(
            (*path, "settled"), "there is no result to settle by", "result, the backend's answer", at_key=True
        )
    _check_amounts(checker, expect.allow, (*path, "allow"))
    if expect.settled is not None:
        _check_amounts(checker, expect.settled, (*path, "settled"))


def _check_amounts(checker: Checker, amounts: AllowDocument | SettledDocument, path: Path) -> None:
    for section in ("credits", "quotas"):
        for name in getattr(amounts, section):
            if not checker.declared(section, name):
                checker.unknown(section, name, (*path, section, name), at_key=True)
