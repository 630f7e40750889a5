"""Gate 4: what the policy says of one call. Pure, on the path of every call.

The order of questions is the contract's: is the operation declared, has the token its scopes, are
the arguments acceptable, is the call confirmed. A refusal still carries the terms and, where it can
be computed, the price: gates 5-7 look first, and a confirmation can name what it will cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, Caller, CallKind, Decision, Demand, Depth
from sidecar.policy import pricing
from sidecar.policy.arguments import meta_disguised
from sidecar.policy.expressions import ValueRefusedError
from sidecar.policy.lookup import Subject, subject_of
from sidecar.policy.methods import TOKEN_ONLY, UNDECLARED, has
from sidecar.policy.rules import Operation, Policy, Tool

_NO_METHODS: Final[Mapping[str, Depth]] = {}
_NO_ARGUMENTS: Final[Mapping[str, Any]] = {}
_NO_DEMANDS: Final[tuple[Demand, ...]] = ()


def decide(policy: Policy, call: Call, caller: Caller) -> Decision:
    """Say what may become of one call, without asking anybody.

    Returns:
        the decision; its refusal, if any, is answered after gates 5-7 were looked at.
    """
    return judge(policy, call, caller)[0]


def judge(policy: Policy, call: Call, caller: Caller) -> tuple[Decision, Operation | None]:
    """Decide, and name the declared operation whose price the call has; None when it makes none."""
    if call.method != "tools/call":
        # A method that this revision does not have is as good as unknown.
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
    return _decide(policy, call, caller, subject), subject.operation


def completed_arguments(operation: Operation, call: Call) -> Mapping[str, Any]:
    """The plain arguments that were judged: what `pricing.charges` reads when the call is settled."""
    if not isinstance(operation, Tool):
        return _NO_ARGUMENTS
    return operation.arguments.complete(call.params.get("arguments", _NO_ARGUMENTS))


def request_meta(call: Call) -> Any:
    """What `meta` is in expressions: the request's `_meta`."""
    return call.params.get("_meta")


def _decide(policy: Policy, call: Call, caller: Caller, subject: Subject) -> Decision:
    operation = subject.operation
    unscoped = _missing_scope(policy, subject, caller)
    unpriced, demands = _judge(operation, call)
    refusal = unscoped or unpriced
    document = call.document
    if isinstance(operation, Tool):
        refusal = refusal or _unconfirmed(operation, call)
        document = _document(operation, call) if refusal is None else None
    return Decision(
        refusal,
        subject.terms(scoped=unscoped is None),
        Depth.PRICE if unpriced is None else Depth.PLAN,
        demands,
        document if refusal is None else None,
        subject.scopes,
        operation.rule if refusal is None else refusal.rule,
        operation.timeout,
        operation.on_unknown,
    )


def _missing_scope(policy: Policy, subject: Subject, caller: Caller) -> Refusal | None:
    lacking: Operation | None = None
    for each in subject.named:
        for granting in each.terms.scopes:
            if lacking is None and caller.scopes.isdisjoint(granting):
                lacking = each
    if lacking is None:
        return None
    # One challenge with all that the operation needs and what the token has already: a client that
    # asks for exactly this must not lose anything (MCP authorization, step-up).
    had = (scope for scope in policy.scopes.rules if scope in caller.scopes)
    wanted = tuple(dict.fromkeys((*subject.scopes, *had)))
    return Refusal(ErrorCode.INSUFFICIENT_SCOPE, scopes=wanted, rule=lacking.scopes_rule)


def _judge(operation: Operation, call: Call) -> tuple[Refusal | None, tuple[Demand, ...]]:
    """The refusal of the arguments, or what the call has to reserve."""
    rule, arguments = operation.rule, _NO_ARGUMENTS  # of what is no tool, no argument is read
    try:
        if isinstance(operation, Tool):
            rule = operation.arguments_rule
            arguments = _accepted(operation, call)
        disguised = None if operation.meta is None else meta_disguised(request_meta(call), operation.meta)
        if disguised is not None:
            raise disguised
        return None, pricing.demands(operation.prices, arguments, request_meta(call))
    except ValueRefusedError as error:
        refusal = Refusal(ErrorCode.ARGUMENTS_REFUSED, f"This call cannot be priced: {error}.")
    except Refusal as refused:
        refusal = refused
    refusal.rule = rule
    return refusal, _NO_DEMANDS


def _accepted(tool: Tool, call: Call) -> Mapping[str, Any]:
    """The arguments of a tool, completed.

    Raises:
        Refusal: they are not acceptable.
    """
    given = call.params.get("arguments", _NO_ARGUMENTS)
    if type(given) is not dict:
        raise Refusal(ErrorCode.PARAMS_MALFORMED, "params.arguments must be an object.")
    refusal = tool.arguments.disguised(given)
    if refusal is None:
        arguments = tool.arguments.complete(given)
        refusal = tool.arguments.invalid(arguments)
    if refusal is not None:
        raise refusal
    return arguments


def _unconfirmed(tool: Tool, call: Call) -> Refusal | None:
    confirm, given = tool.confirm, call.params.get("arguments", _NO_ARGUMENTS)
    # Only JSON true: some servers take 1 and "true" for it, and would run what nobody confirmed.
    if confirm is None or given.get(confirm.argument) is True:
        return None
    data = {"confirm": {"argument": confirm.argument}}
    return Refusal(ErrorCode.CONFIRMATION_REQUIRED, confirm.message, data=data, rule=confirm.rule)


def _document(tool: Tool, call: Call) -> Mapping[str, Any] | None:
    """The message to forward; the one that came, unless arguments were filled in or taken out."""
    document = call.document
    if document is None:
        return None
    params = document.get("params", _NO_ARGUMENTS)
    arguments = params.get("arguments", _NO_ARGUMENTS)
    completed = tool.arguments.complete(arguments)
    if completed is arguments:
        return document
    return {**document, "params": {**params, "arguments": completed}}
