"""Request path of one process: the pipeline, and the parts behind it that background tasks keep going."""

from __future__ import annotations

import secrets
import time
from functools import partial

from sidecar.errors import Refusal
from sidecar.observe.metrics import Metrics
from sidecar.observe.record import Recorder
from sidecar.outcome import Exchange
from sidecar.proxy.admit import Admission
from sidecar.proxy.calls.traced_admission import TracedAdmission
from sidecar.proxy.forward import Forwarder
from sidecar.proxy.pipeline import Pipeline
from sidecar.proxy.relay.resuming import Resuming
from sidecar.proxy.relay.revocations import Revocations
from sidecar.proxy.snapshot import Snapshot
from sidecar.runtime.background import BackgroundTasks
from sidecar.store.revocation_times import RevocationTimes
from sidecar.store.store import Store
from sidecar.store.stream_key import StreamKey


class RequestPath:
    """Pipeline with its admission, forwarder and revocations.

    Args:
        snapshot: in force at first.
        store: the ledger.
        recorder: observes each call.
        metrics: measure revocations.
        lease_margin: seconds that a hold outlives its call's timeout before another process may resolve it.
    """

    def __init__(
        self, snapshot: Snapshot, store: Store, recorder: Recorder, metrics: Metrics, lease_margin: float
    ) -> None:
        self._stream_key = StreamKey(store)
        kind = Admission if recorder.tracer is None else TracedAdmission
        self.admission = kind(store, secrets.token_hex(8), lease_margin, recorder)
        resuming = Resuming(store, recorder.settled)
        self.forwarder = Forwarder(self.admission.ownership, resuming, self._stream_key)
        self.pipeline = Pipeline(snapshot, self.admission, self.forwarder, store, recorder)
        streams, answered = self.pipeline.streams, self.pipeline.confirmations.announced
        self.revocations = Revocations(store, streams, lambda: self.pipeline.snapshot.lists, answered=answered)
        denial, stream_end = metrics.revocation_denial.observe, metrics.revocation_stream_end.observe
        self.revocation_times = RevocationTimes(store, denial, stream_end)
        self.admission.revoked = self.revocation_times.denied
        self.pipeline.streams.withdrawn = self.revocation_times.stream_ended

    def start(self, tasks: BackgroundTasks) -> None:
        """Start the background tasks of the request path."""
        tasks.start(partial(self.admission.ownership.keep_in_use, self.pipeline.in_use), "sessions in use")
        tasks.start(self._stream_key.watch, "stream key")
        tasks.start(self.revocations.watch, "revocations")
        tasks.start(self.revocation_times.watch, "revocation times")

    def malformed(self, refusal: Refusal) -> str:
        """Record a request that could not be parsed, or an answer that could not be written; return its id."""
        code, status = refusal.code.id, refusal.status
        exchange = Exchange(secrets.token_hex(16), time.monotonic(), refusal=refusal, code=code, http_status=status)
        self.pipeline.record(exchange)
        return exchange.request_id
