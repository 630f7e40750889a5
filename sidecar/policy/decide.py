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
from sidecar.policy.rules import Policy, Tool
from sidecar.protocol.revisions import METHODS

TOKEN_ONLY: Final[Mapping[CallKind, frozenset[str]]] = {
    CallKind.REQUEST: frozenset({"initialize", "server/discover", "ping"}),
    CallKind.NOTIFICATION: frozenset({"notifications/initialized"}),
    CallKind.END_SESSION: frozenset({""}),
}
"""What needs a valid token and nothing else."""

UNDECLARED: Final[Mapping[CallKind, Mapping[str, Depth]]] = {
    # Lists are filtered by the account's plan, so the look goes as far as that.
    CallKind.REQUEST: dict.fromkeys(
        ("tools/list", "resources/list", "resources/templates/list", "prompts/list"), Depth.PRICE
    ),
    CallKind.NOTIFICATION: dict.fromkeys(
        ("notifications/cancelled", "notifications/progress", "notifications/roots/list_changed"), Depth.CONSENT
    ),
    CallKind.RESPONSE: {"": Depth.CONSENT},
    CallKind.STREAM: {"": Depth.CONSENT},
}
"""What needs no declaration, but consent and an enabled account; and how far gates 5-7 look."""

_NO_METHODS: Final[Mapping[str, Depth]] = {}
_NO_ARGUMENTS: Final[Mapping[str, Any]] = {}
_NO_DEMANDS: Final[tuple[Demand, ...]] = ()


def decide(policy: Policy, call: Call, caller: Caller) -> Decision:
    """Say what may become of one call, without asking anybody.

    Returns:
        the decision; its refusal, if any, is answered after gates 5-7 were looked at.
    """
    if call.kind is CallKind.REQUEST and call.method == "tools/call":
        return _decide_tool(policy, call, caller)
    # A method that this revision does not have is as good as unknown.
    served = call.kind is not CallKind.REQUEST or call.revision in METHODS.get(call.method, ())
    if served and call.method in TOKEN_ONLY.get(call.kind, ()):
        return Decision(None, None, document=call.document)
    depth = UNDECLARED.get(call.kind, _NO_METHODS).get(call.method)
    if served and depth is not None:
        return Decision(None, policy.open_terms, depth, document=call.document)
    # An unknown method is 404 in the stateless revision and 200 before (spec, basic: errors).
    refusal = Refusal(ErrorCode.METHOD_NOT_ALLOWED, status=404 if call.revision.stateless else None)
    return Decision(refusal, policy.open_terms, Depth.CONSENT)


def completed_arguments(tool: Tool, call: Call) -> Mapping[str, Any]:
    """The plain arguments that were judged: what `pricing.charges` reads when the call is settled."""
    return tool.arguments.complete(call.params.get("arguments", _NO_ARGUMENTS))


def request_meta(call: Call) -> Any:
    """What `meta` is in expressions: the request's `_meta`."""
    return call.params.get("_meta")


def _decide_tool(policy: Policy, call: Call, caller: Caller) -> Decision:
    name = call.params.get("name")
    tool = policy.tools.get(name) if type(name) is str else None
    if tool is None:
        return Decision(Refusal(ErrorCode.TOOL_UNKNOWN), policy.open_terms, Depth.CONSENT)
    unscoped = _missing_scope(policy, tool, caller)
    given = call.params.get("arguments", _NO_ARGUMENTS)
    unpriced, demands = _judge(tool, call, given)
    refusal = unscoped or unpriced or _unconfirmed(tool, given)
    return Decision(
        refusal,
        tool.terms if unscoped is None else tool.unscoped_terms,
        Depth.PRICE if unpriced is None else Depth.PLAN,
        demands,
        _document(tool, call) if refusal is None else None,
        tool.scopes,
        tool.rule if refusal is None else refusal.rule,
        tool.timeout,
        tool.on_unknown,
    )


def _missing_scope(policy: Policy, tool: Tool, caller: Caller) -> Refusal | None:
    for granting in tool.terms.scopes:
        if caller.scopes.isdisjoint(granting):
            break
    else:
        return None
    # One challenge with all that the operation needs and what the token has already: a client that
    # asks for exactly this must not lose anything (MCP authorization, step-up).
    had = (scope for scope in policy.scopes.rules if scope in caller.scopes)
    wanted = tuple(dict.fromkeys((*tool.scopes, *had)))
    return Refusal(ErrorCode.INSUFFICIENT_SCOPE, scopes=wanted, rule=tool.scopes_rule)


def _judge(tool: Tool, call: Call, given: Any) -> tuple[Refusal | None, tuple[Demand, ...]]:
    """The refusal of the arguments, or what the call has to reserve."""
    rules = tool.arguments
    if type(given) is not dict:
        refusal: Refusal | None = Refusal(ErrorCode.PARAMS_MALFORMED, "params.arguments must be an object.")
    else:
        refusal = rules.disguised(given)
    if refusal is None and tool.meta is not None:
        refusal = meta_disguised(request_meta(call), tool.meta)
    if refusal is None:
        arguments = rules.complete(given)
        refusal = rules.invalid(arguments)
    if refusal is None:
        try:
            return None, pricing.demands(tool.prices, arguments, request_meta(call))
        except ValueRefusedError as error:
            refusal = Refusal(ErrorCode.ARGUMENTS_REFUSED, f"This call cannot be priced: {error}.")
    refusal.rule = tool.arguments_rule
    return refusal, _NO_DEMANDS


def _unconfirmed(tool: Tool, given: Mapping[str, Any]) -> Refusal | None:
    confirm = tool.confirm
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
