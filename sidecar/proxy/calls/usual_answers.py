"""Relay of the usual answer: a short JSON result of a tool, in a revision without sessions.

It reads, settles and stamps as `relay.Relay` does, in one step without waiting; so not where items are paid once, of
which only the store knows the cost. It only accepts: an answer that it does not accept has not been touched, and the
complete rules of `relay` judge it.
"""

from __future__ import annotations

from typing import Final

from sidecar.model import Call
from sidecar.outcome import Event
from sidecar.protocol import results
from sidecar.protocol.stamping import stamped
from sidecar.protocol.tasks import task_support
from sidecar.proxy.backend.answer import BackendAnswer
from sidecar.proxy.backend.forwarding import relayed_headers
from sidecar.proxy.listener.reply import ClientReply
from sidecar.proxy.memory import ANSWER_VALUE, decoded_size
from sidecar.proxy.relay.listings import is_uncached
from sidecar.proxy.settle import Settlement
from sidecar.proxy.snapshot import Snapshot

LONGEST: Final = 16 * 1024
"""Bytes of an answer to relay here at most: an answer that turns out to be unusual is read a second time."""

_JSON: Final = b"application/json"
_NO_STORE: Final = (("Cache-Control", "no-store"),)
_RESULTS: Final = frozenset({Event.RESULT, Event.TOOL_ERROR})


def relay_usual(
    call: Call, answer: BackendAnswer, settlement: Settlement, reply: ClientReply, snapshot: Snapshot
) -> bool:
    """Relay an answer that has arrived, and return True; return False, and change nothing, for an unusual one.

    The settle of a call with a price may still be on its way: `Settlement.confirm` is then awaited before the handler
    returns, and its refusal replaces the answer.

    Args:
        call: the message as the backend got it.
        answer: the backend's.
        settlement: resolved with the outcome of the call.
        reply: gets the answer; it is sent when the handler returns.
        snapshot: the settings and policy of the call.
    """
    data, limits = answer.arrived, snapshot.limits
    if data is None or answer.status != 200 or answer.fields.get(b"content-type") != _JSON:
        return False
    if call.tool is None or not call.revision.stateless or not settlement.is_foreseen or reply.unsent:
        return False
    if len(data) > LONGEST or len(data) > limits.response:
        return False
    if task_support.served(call.revision, snapshot.policy.methods):
        return False
    data = data if type(data) is bytes else bytes(data)
    response = _usual_response(call, answer, data, limits.json_depth)
    if response is None:
        return False
    settlement.resolve(response.event, response, now=False)
    text = data.decode()
    made = stamped(text, response.result, settlement.foreseen_receipt())
    headers = relayed_headers(answer.fields) + _NO_STORE
    reply.answer(200, headers, data if made is text else made.encode())
    return True


def _usual_response(call: Call, answer: BackendAnswer, data: bytes, depth: int) -> results.Response | None:
    """Return the result of this call that needs no change; None for any other answer, or when memory is short."""
    memory = answer.memory
    if memory is not None and not memory.could_decode(decoded_size(data, ANSWER_VALUE) - len(data)):
        return None
    try:
        response = results.read_response(data, depth)
    except results.Unusable:
        return None
    if response.id != call.id or response.result is None or response.event not in _RESULTS:
        return None
    return response if is_uncached(response.result) else None
