"""Steps of the pipeline that wait for nothing: the second part of gate 3, and gate 4."""

from __future__ import annotations

import time
from collections.abc import Container
from typing import Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind, Decision, Depth
from sidecar.policy.decide import judge
from sidecar.policy.rules import Tool
from sidecar.protocol import headers, jsonrpc, revisions
from sidecar.protocol.jsonrpc import Message
from sidecar.proxy.calls.cancellation import Cancellation
from sidecar.proxy.calls.steps import Authenticated, Decided, ParsedCall, Received
from sidecar.proxy.listener.body import arrived_body

_BODILESS: Final = {CallKind.STREAM: "GET", CallKind.END_SESSION: "DELETE", CallKind.RESPONSE: "response"}


def method_label(call: Call, declared: Container[str]) -> str | None:
    """Return the method for log and metrics: one that the protocol or the policy knows, never a client's invention."""
    known = call.method in revisions.METHODS or call.method in declared
    return call.method if known else _BODILESS.get(call.kind)


def arrived_message(authenticated: Authenticated) -> Message | None:
    """Read a message that has arrived with a known head (first part of gate 3); None for any other."""
    request, limits = authenticated.received.request, authenticated.received.snapshot.limits
    if request.body is None:
        return None
    return jsonrpc.read(arrived_body(request, limits.body, authenticated.memory), limits.json_depth)


def parse(authenticated: Authenticated, message: Message | None) -> ParsedCall:
    """Run the second part of gate 3: check that the headers agree with the message."""
    received = authenticated.received
    head = received.request.head
    if head.described is None:
        head.described = headers.read(received.request.headers.items())
    fields = head.described
    if message is None:
        call = _call_without_body(received, fields)
    else:
        call = revisions.call_of(message, fields, received.snapshot.policy.methods)
    return ParsedCall(received, authenticated.caller, authenticated.account, authenticated.memory, call, Cancellation())


def decide(parsed: ParsedCall) -> Decided:
    """Run gate 4 on a parsed call."""
    snapshot, call = parsed.received.snapshot, parsed.call
    policy = snapshot.policy
    decision, operation = judge(policy, call, parsed.caller)
    tool = operation if isinstance(operation, Tool) else None
    unserved = snapshot.tools.refusal(None if tool is None else tool.name)
    if unserved is not None:
        decision = Decision(unserved, policy.open_terms, Depth.CONSENT)
    timeout = decision.timeout or snapshot.limits.timeout
    method = method_label(call, policy.methods) if tool is None else call.method
    return Decided(parsed, decision, operation, tool, method, timeout)


def token_lifetime(parsed: ParsedCall) -> float:
    """Return the seconds until the caller's token expires."""
    caller, issuers = parsed.caller, parsed.received.snapshot.settings.issuers
    leeway = next(issuer.leeway for issuer in issuers if issuer.id == caller.issuer_id)
    return max(0.0, caller.expires_at + leeway - time.time())


def _call_without_body(received: Received, fields: headers.McpHeaders) -> Call:
    """Return the call of a GET or DELETE; in a revision without sessions there is only POST."""
    try:
        return revisions.bodiless_call(received.request.method, fields)
    except Refusal as refusal:
        if refusal.code is ErrorCode.HTTP_METHOD_REFUSED:
            received.reply.add_header("Allow", "POST")  # RFC 9110 section 15.5.6
        raise
