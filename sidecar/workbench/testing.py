"""Runs a policy's own tests, on the code that serves calls and on the pure model of the store.

`check`, `test`, start and every reload run the same tests; none of them needs a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.errors import Refusal
from sidecar.ledger import refusals
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.ledger.admission import admit
from sidecar.ledger.windows import Counter, window_at
from sidecar.model import Admission, AmountKind, Application, Call, Caller, CallKind, Decision, Revision
from sidecar.policy.decide import decide
from sidecar.policy.models import ConsentDocument, ExpectDocument, TestCallDocument, TestCallerDocument
from sidecar.policy.rules import Policy, PolicyTest
from sidecar.protocol.jsonrpc import NOTIFICATIONS
from sidecar.protocol.revisions import METHODS

NOW: Final = 1_768_480_230_000
"""The moment of all tests, in milliseconds since the epoch: the middle of a minute, hour, day and month."""

_WHO: Final = "tester"
_ALLOW: Final = "allow"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one call meets at gates 4-7.

    Attributes:
        refusal: what the caller is answered; None when the call is forwarded.
        decision: gate 4's.
        admission: gates 5-7's; None where only a token is needed.
    """

    refusal: Refusal | None
    decision: Decision
    admission: Admission | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one test ended.

    Attributes:
        name: the test's.
        rule: `file:line` of the test.
        expected: what it expects, in words.
        got: what came of the call; equal in meaning to `expected` when it passed.
    """

    name: str
    rule: str
    expected: str
    got: str
    passed: bool

    def __str__(self) -> str:
        if self.passed:
            return f"{self.rule}: {self.name}: ok"
        return f"{self.rule}: {self.name}: expected {self.expected}, got {self.got}"


def run_tests(policy: Policy) -> tuple[Outcome, ...]:
    """Run all tests of a policy, in its order."""
    return tuple(run_test(policy, test) for test in policy.tests)


def run_test(policy: Policy, case: PolicyTest) -> Outcome:
    """Run one test of a policy."""
    test = case.test
    found = verdict(policy, call_of(test.call), caller_of(test.caller), account_of(policy, test.caller))
    reserved = {} if found.refusal else _reserved(found.admission)
    if isinstance(test.expect, ExpectDocument):
        wanted = _named(test.expect)
        passed = found.refusal is None and all(reserved.get(key, 0) == units for key, units in wanted.items())
        expected = _allowed(wanted)
    else:
        passed = test.expect == (found.refusal.code.id if found.refusal else _ALLOW)
        expected = test.expect
    return Outcome(test.name, case.rule, expected, _told(found.refusal, reserved), passed)


def verdict(policy: Policy, call: Call, caller: Caller, account: AccountState, now: int = NOW) -> Verdict:
    """Take a call through gates 4-7 as the pipeline does, with the pure model in the store's place.

    Args:
        policy: the policy.
        call: a message that gate 3 has let through.
        caller: whom its token speaks for.
        account: the caller's account.
        now: the store's clock, in milliseconds since the epoch.
    """
    decision = decide(policy, call, caller)
    if decision.terms is None:
        return Verdict(decision.refusal, decision, None)
    application = Application(
        call_id=_WHO,
        owner=_WHO,
        caller=caller,
        look=decision.refusal is not None,
        depth=decision.depth,
        terms=decision.terms,
        demands=decision.demands,
        on_unknown=decision.on_unknown,
    )
    admission, _ = admit(account, application, now)
    refusal = refusals.refusal(admission, application, policy.manage_url)
    if refusal is None and decision.refusal is not None:
        refusal = refusals.with_price(decision.refusal, admission.prices)
    return Verdict(refusal, decision, admission)


# --- what a test describes ---------------------------------------------------------------------


def call_of(test: TestCallDocument) -> Call:
    """The message of a test, in the newest revision that has its method."""
    method, params = _request(test)
    if test.meta is not None:
        params["_meta"] = test.meta
    revision = max(METHODS.get(method, frozenset()), default=Revision.V2026_07_28)
    if method.startswith(NOTIFICATIONS):
        return Call(CallKind.NOTIFICATION, revision, method, None, params)
    return Call(CallKind.REQUEST, revision, method, 1, params)


def _request(test: TestCallDocument) -> tuple[str, dict[str, Any]]:
    """Method and parameters of what a test calls."""
    if test.tool is not None:
        return "tools/call", {"name": test.tool, "arguments": test.arguments}
    method = test.method or ("resources/read" if test.prompt is None else "prompts/get")
    if method == "completion/complete":
        named = {"type": "ref/resource", "uri": test.resource}
        if test.prompt is not None:
            named = {"type": "ref/prompt", "name": test.prompt}
        return method, {"ref": named, "argument": {"name": "", "value": ""}}
    if method == "subscriptions/listen":
        return method, {"notifications": {"resourceSubscriptions": [] if test.resource is None else [test.resource]}}
    if test.prompt is not None:
        return method, {"name": test.prompt, "arguments": test.arguments}
    return method, {} if test.resource is None else {"uri": test.resource}


def caller_of(test: TestCallerDocument) -> Caller:
    """The caller of a test, with a token that was issued now."""
    issued = NOW // 1000
    return Caller("main", _WHO, _WHO, _WHO, _WHO, frozenset(test.scopes), issued, issued + 3600)


def account_of(policy: Policy, test: TestCallerDocument) -> AccountState:
    """The account of a test: active and unused, but for what the test says."""
    state = AccountState(plan=test.plan, active=test.status == "active")
    state.balances = dict(test.credits)
    state.totals = dict(test.credits)
    for quota, windows in test.quotas.items():
        for window, used in windows.items():
            state.quotas[quota, window] = Counter(window_at(window, NOW)[0], used)
    for pool, used in test.included.items():
        included = policy.windows[pool]
        state.included[pool, included] = Counter(window_at(included, NOW)[0], used)
    for name, items in test.paid.items():
        state.paid |= {(kind, name, str(item)) for kind in AmountKind for item in items}
    if test.consent != "missing":
        scopes = frozenset(test.consent.scopes) if isinstance(test.consent, ConsentDocument) else None
        state.consents[_WHO, _WHO] = Consent(granted=test.consent != "revoked", at=NOW, scopes=scopes)
    return state


# --- words -------------------------------------------------------------------------------------

_Key = tuple[AmountKind, str]


def _reserved(admission: Admission | None) -> dict[_Key, int]:
    return {(price.kind, price.name): price.needed for price in (admission.prices if admission else ())}


def _named(expect: ExpectDocument) -> dict[_Key, int]:
    allow = expect.allow
    quotas = {(AmountKind.QUOTA, name): units for name, units in allow.quotas.items()}
    return quotas | {(AmountKind.CREDIT, name): units for name, units in allow.credits.items()}


def _told(refusal: Refusal | None, reserved: Mapping[_Key, int]) -> str:
    if refusal is None:
        return _allowed(reserved)
    rule = f"{refusal.rule}: " if refusal.rule else ""
    return f"{refusal.code.id} ({rule}{refusal.detail})"


def _allowed(units: Mapping[_Key, int]) -> str:
    """`allow {credits: {contact: 2}}`, as a test would expect it."""
    sections = (("credits", AmountKind.CREDIT), ("quotas", AmountKind.QUOTA))
    parts = []
    for section, kind in sections:
        named = ", ".join(f"{name}: {count}" for (of, name), count in units.items() if of is kind)
        if named:
            parts.append(f"{section}: {{{named}}}")
    return f"{_ALLOW} {{{', '.join(parts)}}}" if parts else _ALLOW
