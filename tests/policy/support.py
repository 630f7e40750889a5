"""Policies and calls in one line each."""

from textwrap import dedent
from typing import Any

import pytest

from sidecar.config.documents.merging import DocumentError, parse
from sidecar.model import Call, Caller, CallKind, Decision, Revision
from sidecar.policy.decide import decide
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.rules import Policy


def policy(*texts: str, items: int = 500) -> Policy:
    """Compile policy files, named p1.yaml, p2.yaml, ..."""
    return compile_policy(documents(*texts), items=items)


def documents(*texts: str):
    """Parse the files of a policy; one without tools says that it is meant."""
    if not any(line.startswith(("tools:", "empty:")) for text in texts for line in dedent(text).splitlines()):
        texts = (*texts[:-1], f"{dedent(texts[-1])}\nempty: true\n")
    return [parse(f"p{index}.yaml", dedent(text)) for index, text in enumerate(texts, 1)]


def problems(*texts: str, items: int = 500) -> list[str]:
    """All that `check` would print of files that must not compile."""
    with pytest.raises(DocumentError) as caught:
        policy(*texts, items=items)
    return [str(problem) for problem in caught.value.problems]


def caller(*scopes: str) -> Caller:
    return Caller("main", "https://issuer.example", "alice", "alice", "client", frozenset(scopes), 0, 1)


def call(tool: str, arguments: Any = None, *, revision: Revision = Revision.V2025_11_25, **params: Any) -> Call:
    """A tools/call; `arguments` None leaves them out."""
    params = {"name": tool, **({} if arguments is None else {"arguments": arguments}), **params}
    return request("tools/call", params, revision=revision)


def request(method: str, params: dict[str, Any] | None = None, *, revision: Revision = Revision.V2025_11_25) -> Call:
    document = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
    return Call(CallKind.REQUEST, revision, method, 1, params or {}, document)


def judge(text: str, tool: str, arguments: Any = None, scopes: tuple[str, ...] = ("s",), **params: Any) -> Decision:
    """Compile a policy and decide one call."""
    return decide(policy(text), call(tool, arguments, **params), caller(*scopes))


def one_tool(body: str) -> str:
    """A policy with scope `s`, quotas `requests` and `rows`, pool `credit`, and a tool `t` of this body."""
    return dedent(
        """\
            scopes: {s: A scope.}
            quotas: {requests: {minute: 60}, rows: {month: 100}}
            credits: {credit: One.}
            tools:
              t:
                scopes: [s]
            """
    ) + "".join(f"    {line}\n" for line in dedent(body).strip().splitlines())
