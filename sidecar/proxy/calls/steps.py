"""Values that the steps up to the decision return; each step takes the value of the step before, and changes none.

`authenticate → parse → decide → admit → relay → settle → observe`. The values of the later steps are
`admit.Admitted`, `forward.BackendRequest` and `settle.Settled`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.model import Call, Caller, Decision
from sidecar.observe.tracing.call_trace import CallTrace
from sidecar.policy.rules import Operation, Tool
from sidecar.proxy.calls.cancellation import Cancellation
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.reply import ClientReply
from sidecar.proxy.memory import MemoryLease
from sidecar.proxy.snapshot import Snapshot


@dataclass(slots=True, eq=False)
class Received:
    """Request after its head has arrived.

    Attributes:
        id: the sidecar's own id of the request.
        started: when it arrived, on the monotonic clock.
        request: the HTTP request.
        snapshot: the settings and policy that it keeps to its end; a reload does not change them.
        reply: the answer to its client.
        trace: the ids and times of its spans; None unless it is traced.
        asked_seconds: how long it has waited for a person to confirm it.
    """

    id: str
    started: float
    request: ClientRequest
    snapshot: Snapshot
    reply: ClientReply
    trace: CallTrace | None = None
    asked_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class Authenticated:
    """Request with a verified access token.

    Attributes:
        received: the request.
        caller: the verified identity.
        account: the digest of the caller's account.
        memory: the lease for its message, charged to the account.
    """

    received: Received
    caller: Caller
    account: str
    memory: MemoryLease


@dataclass(slots=True, eq=False)
class ParsedCall:
    """Request with a parsed message; it can be in flight.

    Attributes:
        received: the request.
        caller: the verified identity.
        account: the digest of the caller's account.
        memory: the lease for its message.
        call: the message.
        cancellation: the state that a cancellation of the call changes.
    """

    received: Received
    caller: Caller
    account: str
    memory: MemoryLease
    call: Call
    cancellation: Cancellation


@dataclass(slots=True, eq=False)
class Decided:
    """Request that gate 4 has judged. Its refusal, if any, is answered after a dry run of gates 5-7.

    Attributes:
        parsed: the request.
        decision: the result of gate 4.
        operation: the declared operation that the call's price comes from; None when it has none.
        tool: the declared tool that is called; None for every other operation.
        method: the method for log and metrics (`method_label`).
        timeout: seconds that the call may take to its final result.
    """

    parsed: ParsedCall
    decision: Decision
    operation: Operation | None
    tool: Tool | None
    method: str | None
    timeout: float
