"""Admission of a process that traces: it notes the times of the trip to the store."""

from __future__ import annotations

import time

from sidecar.proxy.admit import Admission, Admitted, Rejected
from sidecar.proxy.calls.steps import Decided


class TracedAdmission(Admission):
    """Admission that notes when the store was asked, for the span; a process that does not trace has no use for it."""

    async def admit(self, decided: Decided) -> Admitted | Rejected:
        """Pass gates 5-7, as `Admission` does."""
        trace = decided.parsed.received.trace
        if trace is None or decided.decision.terms is None:
            return await super().admit(decided)
        trace.store_began = time.monotonic()
        admission = await super().admit(decided)
        trace.store_ended = time.monotonic()
        return admission
