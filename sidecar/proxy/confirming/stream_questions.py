"""Questions to a person on the event stream of the call that waits for the answer.

The stream begins before the backend is asked. The answer is written to the approval, by any sidecar or by the account
page, and the store tells this one; a lost message costs a few seconds, because the approval is also read at intervals.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from sidecar.approval import ApprovalStatus, ConfirmBy
from sidecar.errors import Refusal
from sidecar.ledger.approval_records import APPROVAL_LIFE, Approval
from sidecar.protocol.elicitation import elicitation
from sidecar.protocol.sse import sse
from sidecar.protocol.strict import strictjson
from sidecar.proxy.calls.steps import ParsedCall
from sidecar.proxy.confirming.waiting import WaitEnd, WaitingCall, WaitingCalls
from sidecar.store.approval_store import ApprovalStore
from sidecar.system.random_ids import random_id

CHECK_EVERY: Final = 5.0
"""Seconds between two readings of an approval that no message has announced."""

_ENDS: Final = {
    ApprovalStatus.ACCEPTED: WaitEnd.ACCEPTED,
    ApprovalStatus.DECLINED: WaitEnd.DECLINED,
    ApprovalStatus.USED: WaitEnd.EXPIRED,  # by an identical call, which waited for it too
}
_WITHDRAWN: Final = {
    WaitEnd.EXPIRED: "the confirmation has expired",
    WaitEnd.CANCELLED: "the call was cancelled",
    WaitEnd.STOPPING: "the server is shutting down",
}


class StreamQuestions:
    """Ask, and wait for the answer.

    Args:
        approvals: the approvals in the store.
        waiting: calls of this process that wait.
        check_every: seconds; see `CHECK_EVERY`.
    """

    def __init__(self, approvals: ApprovalStore, waiting: WaitingCalls, check_every: float = CHECK_EVERY) -> None:
        self._approvals = approvals
        self._waiting = waiting
        self._check_every = check_every

    async def ask(self, parsed: ParsedCall, asked: Approval, params: Mapping[str, Any] | None) -> WaitEnd:
        """Put a question on the stream of a call, and wait until it is answered or can no longer be.

        Args:
            parsed: the call.
            asked: its approval, which is pending in the store.
            params: parameters of the question (`elicitation.form`, `elicitation.page`); None only waits, for a client
                that has been asked before.

        Raises:
            Refusal: `overloaded`: too many calls wait.
        """
        reply, cancellation = parsed.received.reply, parsed.cancellation
        slots = parsed.received.snapshot.settings.limits.in_flight
        id_ = elicitation.question_id(asked.handle, random_id())
        end, began = WaitEnd.CANCELLED, time.monotonic()
        try:
            with self._waiting.enter(parsed.account, asked.handle, slots) as waiting:
                cancellation.wake = partial(waiting.stop, WaitEnd.CANCELLED)
                await reply.start_early()
                if cancellation.requested:
                    waiting.stop(WaitEnd.CANCELLED)
                elif params is not None:
                    await _write(parsed, elicitation.request(id_, params))
                end = await self._answered(parsed, asked, waiting)
        finally:
            cancellation.wake = None
            parsed.received.asked_seconds += time.monotonic() - began
            if end in _WITHDRAWN and asked.by is ConfirmBy.PERSON:
                self._approvals.withdraw(asked)
        if params is not None:
            await _conclude(parsed, asked, id_, end)
        return end

    async def _answered(self, parsed: ParsedCall, asked: Approval, waiting: WaitingCall) -> WaitEnd:
        """Wait for the answer; write comments meanwhile, so that no proxy takes the stream for dead."""
        reply, keepalive = parsed.received.reply, parsed.received.snapshot.settings.backend.keepalive
        now = asyncio.get_running_loop().time
        checked = now()
        until = checked + APPROVAL_LIFE / 1000
        while waiting.end is None and not reply.disconnected:
            due = min(until, checked + self._check_every, reply.wrote + keepalive)
            woken = await waiting.woken(max(0.0, due - now()))
            if waiting.end is None and (woken or now() >= checked + self._check_every):
                checked = now()
                end = await self._state(asked, waiting)
                if end is not None:
                    return end
            if now() >= until:
                return WaitEnd.EXPIRED
            if now() >= reply.wrote + keepalive:
                await reply.write(sse.KEEPALIVE)
        return waiting.end or WaitEnd.CANCELLED

    async def _state(self, asked: Approval, waiting: WaitingCall) -> WaitEnd | None:
        """Read the approval; None while it is pending, or the store does not answer."""
        try:
            found = await self._approvals.find(asked.issuer_id, asked.account, asked.handle)
        except Refusal:
            return None
        if found is None:
            return WaitEnd.EXPIRED
        end = _ENDS.get(found.status)
        return WaitEnd.UNAVAILABLE if end is WaitEnd.DECLINED and waiting.failed else end


async def _conclude(parsed: ParsedCall, asked: Approval, id_: str, end: WaitEnd) -> None:
    """Tell the client that its question is over, where it may still show it."""
    if end in _WITHDRAWN:
        await _write(parsed, elicitation.withdrawn(id_, _WITHDRAWN[end]))
    elif asked.by is ConfirmBy.PAGE:
        await _write(parsed, elicitation.completed(asked.handle))


async def _write(parsed: ParsedCall, message: Mapping[str, Any]) -> None:
    await parsed.received.reply.write(sse.encode(strictjson.dumps(message)))
