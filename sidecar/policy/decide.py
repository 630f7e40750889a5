"""Gate 4: decide one call by the policy. Pure, on the path of every call.

The contract sets the order of checks: operation declared, scopes granted, arguments accepted, call confirmed.
The first failure ends them: a token without the scopes causes no work on a megabyte of arguments.
A refusal still carries the terms and, once the arguments are accepted, the price: gates 5-7 are evaluated
before it is answered, and a confirmation can name the price.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal, ShadowRefusal
from sidecar.model import Call, Caller, CallKind, Decision, Demand, Depth
from sidecar.policy import pricing
from sidecar.policy.arguments import check_meta
from sidecar.policy.confirming import approval_claims
from sidecar.policy.confirming.approval_claims import Claim
from sidecar.policy.confirming.confirm_rule import Confirm
from sidecar.policy.expressions.expressions import ValueRefusedError
from sidecar.policy.lookup import subject_of
from sidecar.policy.methods import TOKEN_ONLY, UNDECLARED, has
from sidecar.policy.rules import Operation, Policy, Subject, Tool
from sidecar.protocol.elicitation.embedded_question import is_own

# Members of enums as constants: as attributes of their classes they take ten times as long.
_PRICE: Final = Depth.PRICE
_PLAN: Final = Depth.PLAN

_NO_METHODS: Final[Mapping[str, Depth]] = {}
_NO_ARGUMENTS: Final[Mapping[str, Any]] = {}
_NO_DEMANDS: Final[tuple[Demand, ...]] = ()
_NO_CLAIM: Final = Claim(None, None)


def decide(policy: Policy, call: Call, caller: Caller) -> Decision:
    """Decide one call by the policy alone.

    Returns:
        the decision; its refusal, if any, is answered after a dry run of gates 5-7.
    """
    return judge(policy, call, caller)[0]


def judge(policy: Policy, call: Call, caller: Caller) -> tuple[Decision, Operation | None]:
    """Decide, and return the declared operation that sets the price; None when no operation does."""
    if call.method != "tools/call":
        # A method that this revision does not have is unknown.
        served = call.kind is not CallKind.REQUEST or has(call)
        if served and call.method in TOKEN_ONLY.get(call.kind, ()):
            return Decision(None, None, document=call.document), None
        depth = UNDECLARED.get(call.kind, _NO_METHODS).get(call.method)
        if served and depth is not None:
            return Decision(None, policy.open_terms, depth, document=call.document), None
    try:
        subject = subject_of(policy, call)
    except Refusal as refusal:
        return Decision(refusal, policy.open_terms, Depth.CONSENT, rule=refusal.rule), None
    operation = subject.operation
    if "requestState" in call.params and is_own(call.params["requestState"]) and not _asks_person(operation):
        expired = Refusal(ErrorCode.CONFIRMATION_EXPIRED, rule=operation.rule)  # handed out under another policy
        return Decision(expired, subject.terms, Depth.PLAN, rule=operation.rule), operation
    return _decide(policy, call, caller, subject), operation


def _asks_person(operation: Operation) -> bool:
    confirm = operation.confirm if isinstance(operation, Tool) else None
    return confirm is not None and confirm.asks_person and not confirm.shadow


def _decide(policy: Policy, call: Call, caller: Caller, subject: Subject) -> Decision:
    operation, params, document = subject.operation, call.params, call.document
    for granting in subject.terms.scopes:
        if caller.scopes.isdisjoint(granting):
            return _unscoped(policy, caller, subject)
    given, meta = params.get("arguments", _NO_ARGUMENTS), params.get("_meta")
    tool = operation if isinstance(operation, Tool) else None
    refusal, demands, arguments = _judge(operation, tool, given, meta)
    depth = _PRICE if refusal is None else _PLAN
    shadow: tuple[ShadowRefusal, ...] = ()
    claim = _NO_CLAIM
    if refusal is None and tool is not None:
        if tool.has_shadow:
            shadow = _shadow_refusals(tool, given)
        if arguments is not given:
            document = _document(tool, call, arguments)
        confirm = tool.confirm
        if confirm is not None and not confirm.shadow:
            if confirm.asks_person:
                claim, document = _claim(tool, confirm, call, arguments, document)
                refusal = claim.refusal
            elif not confirm.is_argument_true(given):
                refusal = approval_claims.argument_missing(confirm)
    return Decision(
        refusal,
        subject.terms,
        depth,
        demands,
        document if refusal is None or claim.use is not None else None,
        subject.scopes,
        operation.rule if refusal is None else refusal.rule,
        operation.timeout,
        operation.on_unknown,
        shadow,
        arguments,
        meta,
        claim.use,
    )


def _unscoped(policy: Policy, caller: Caller, subject: Subject) -> Decision:
    """Return the decision for a token that lacks a scope: the arguments are not read, so the call has no price."""
    refusal = _lacking(policy, caller.scopes, subject.named, subject.scopes)
    # By place: a decision with named arguments takes twice as long.
    return Decision(refusal, subject.unscoped_terms, _PLAN, _NO_DEMANDS, None, subject.scopes, refusal.rule)


@lru_cache(256)  # a token without the scope is refused in the same way at every call
def _lacking(policy: Policy, scopes: frozenset[str], named: tuple[Operation, ...], needed: tuple[str, ...]) -> Refusal:
    lacking: Operation | None = None
    missing: dict[str, None] = {}
    for each in named:
        for granting in each.terms.scopes:
            if scopes.isdisjoint(granting):
                lacking = lacking or each
                missing[granting[0]] = None  # the scope itself comes before those that imply it
    # The challenge names the scopes that the operation needs and those that the token has: a client
    # that requests exactly these must not lose any (MCP authorization, step-up).
    wanted = tuple(dict.fromkeys((*needed, *policy.scopes.declared(scopes))))
    detail = f"The access token lacks the permission that this operation needs: {' '.join(missing)}."
    rule = None if lacking is None else lacking.scopes_rule
    return Refusal(ErrorCode.INSUFFICIENT_SCOPE, detail, scopes=wanted, rule=rule)


def _judge(
    operation: Operation, tool: Tool | None, given: Any, meta: Any
) -> tuple[Refusal | None, tuple[Demand, ...], Mapping[str, Any]]:
    """Return the refusal of the arguments or the amounts to reserve, and the completed arguments."""
    rule, arguments = operation.rule, _NO_ARGUMENTS  # only tools have arguments that are read
    try:
        if tool is not None:
            rule = tool.arguments_rule
            if type(given) is not dict:
                raise Refusal(ErrorCode.PARAMS_MALFORMED, "params.arguments must be an object.")
            arguments = tool.arguments.accepted(given)
        if operation.meta is not None:
            check_meta(meta, operation.meta)
        return None, pricing.demands(operation.prices, arguments, meta), arguments
    except ValueRefusedError as error:
        detail = f"This call cannot be priced: {error}."
        return Refusal(ErrorCode.ARGUMENTS_REFUSED, detail, rule=rule), _NO_DEMANDS, _NO_ARGUMENTS
    except Refusal as refused:
        return refused.replace(rule=rule), _NO_DEMANDS, _NO_ARGUMENTS


def _claim(
    tool: Tool, confirm: Confirm, call: Call, judged: Mapping[str, Any], document: Mapping[str, Any] | None
) -> tuple[Claim, Mapping[str, Any] | None]:
    """Judge the confirmation by a person; return the message to forward, without what is the sidecar's own."""
    given = call.params.get("arguments", _NO_ARGUMENTS)
    exact = judged if document is None else document["params"].get("arguments", _NO_ARGUMENTS)
    claim = approval_claims.claim_of(confirm, tool.name, call, given, exact)
    return claim, None if document is None else approval_claims.stripped(confirm, document, claim.use)


def _shadow_refusals(tool: Tool, given: Mapping[str, Any]) -> tuple[ShadowRefusal, ...]:
    """Return the refusals of the tool's rules in shadow mode, for arguments that the enforced rules accept."""
    found: list[ShadowRefusal] = []
    rules, confirm = tool.arguments.shadow, tool.confirm
    refusal = None if rules is None else rules.refusal(given)
    if refusal is not None:
        found.append(ShadowRefusal(tool.arguments_rule, refusal.code, refusal.detail))
    if confirm is not None and confirm.shadow and not confirm.is_argument_true(given):
        found.append(ShadowRefusal(confirm.rule, ErrorCode.CONFIRMATION_REQUIRED))
    return tuple(found)


def _document(tool: Tool, call: Call, judged: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the message to forward: the received one with its arguments completed."""
    document = call.document
    if document is None:
        return None
    params = document.get("params", _NO_ARGUMENTS)
    arguments = params.get("arguments", _NO_ARGUMENTS)
    # Number literals that do not survive a round trip are in the document only: it then differs from the judged values.
    same = arguments is call.params.get("arguments", _NO_ARGUMENTS)
    completed = judged if same else tool.arguments.complete(arguments)
    return {**document, "params": {**params, "arguments": completed}}
