"""Calls to try, taken from the policy's own tests, as lines for curl. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.errors import ErrorCode
from sidecar.model import Revision
from sidecar.policy.language.case_models import ExpectDocument, TestCallDocument, TestCallerDocument
from sidecar.policy.rules import Policy
from sidecar.protocol.headers import encode
from sidecar.protocol.meta import CAPABILITIES_KEY, VERSION_KEY
from sidecar.workbench.policy_tests.verdicts import account_of, call_of, caller_of, verdict

UNDECLARED: Final = "not_in_the_policy"
_MODERN: Final = Revision.V2026_07_28.value
_REFUSED: Final = (ErrorCode.CONFIRMATION_REQUIRED.id, ErrorCode.ARGUMENTS_REFUSED.id)


@dataclass(frozen=True, slots=True)
class SampleCall:
    """Call of a method, or of a tool.

    Attributes:
        outcome: `allow`, or the code of the expected refusal.
        method: the MCP method.
        tool: the tool.
        arguments: of the tool.
    """

    outcome: str
    method: str = "tools/call"
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


LISTING: Final = SampleCall("allow", "tools/list")


def sample_calls(policy: Policy) -> tuple[SampleCall | None, SampleCall]:
    """Return an allowed call, if a test has one, and a refused one; each needs a token with all scopes.

    The allowed call has a base scope and few arguments, because values of others are guesses.
    """
    base = policy.expand(policy.base_scopes)
    allowed: list[tuple[bool, int, SampleCall]] = []
    refused: list[tuple[int, SampleCall]] = []
    for each in policy.tests:
        step, caller = each.test.sequence[0], each.test.caller
        call, expect = step.call, step.expect
        if (
            call.tool is None
            or call.meta is not None
            or _asks_person(policy, call)
            or caller != TestCallerDocument(scopes=caller.scopes)
        ):
            continue
        if isinstance(expect, ExpectDocument) or expect == "allow":
            found = SampleCall("allow", tool=call.tool, arguments=call.arguments)
            allowed.append((not policy.expand(caller.scopes) <= base, len(call.arguments), found))
        elif expect in _REFUSED:
            found = SampleCall(expect, tool=call.tool, arguments=call.arguments)
            refused.append((_REFUSED.index(expect), found))
    ordered = [call for *_, call in sorted(allowed, key=lambda one: one[:2])]
    known = [call for _, call in sorted(refused, key=lambda one: one[0])]
    return next(iter(ordered), None), next(iter(known), None) or _refused(policy, ordered)


def _asks_person(policy: Policy, call: TestCallDocument) -> bool:
    """Return True for a call that no shell can make: a person is asked about it."""
    tool = policy.tools.get(call.tool or "")
    return tool is not None and tool.confirm is not None and tool.confirm.asks_person


def _refused(policy: Policy, allowed: list[SampleCall]) -> SampleCall:
    """Return a call with one argument too many, or of a tool that is not declared."""
    caller = TestCallerDocument(scopes=tuple(policy.scope_names))
    for call in allowed:
        arguments = {**call.arguments, UNDECLARED: True}
        asked = call_of(TestCallDocument(tool=call.tool, arguments=arguments))
        found = verdict(policy, asked, caller_of(caller), account_of(policy, caller)).refusal
        if found is not None and found.code is ErrorCode.ARGUMENTS_REFUSED:
            return SampleCall(found.code.id, tool=call.tool, arguments=arguments)
    return SampleCall(ErrorCode.TOOL_UNKNOWN.id, tool=UNDECLARED)


def curl_line(call: SampleCall, url: str, headers: str, version: str) -> str:
    """Return a line for a shell.

    Args:
        call: the call.
        url: of the sidecar.
        headers: path of the file with the headers of all calls.
        version: the revision that the backend speaks.
    """
    params: dict[str, Any] = {}
    if call.tool is not None:
        params = {"name": call.tool, "arguments": dict(call.arguments)}
    words = ["curl", "-sS", url, "-H", f"@{headers}"]
    if version == _MODERN:
        params["_meta"] = {VERSION_KEY: _MODERN, CAPABILITIES_KEY: {}}
        words += ["-H", f"Mcp-Method: {call.method}"]
        words += [] if call.tool is None else ["-H", f"Mcp-Name: {encode(call.tool)}"]
    message = {"jsonrpc": "2.0", "id": 1, "method": call.method, "params": params}
    return shlex.join([*words, "-d", json.dumps(message, separators=(",", ":"))])


def header_lines(token: str, version: str, session: str | None) -> str:
    """Return the file of the headers of all calls, as curl reads it."""
    lines = [
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"MCP-Protocol-Version: {version}",
    ]
    lines += [] if session is None else [f"Mcp-Session-Id: {session}"]
    return "".join(f"{line}\n" for line in lines)
