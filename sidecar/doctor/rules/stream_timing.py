"""Time until a stream's first bytes arrive: a proxy that buffers keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sidecar.doctor.rules.findings import Finding, fail, ok, unchecked
from sidecar.doctor.rules.probe_answer import ProbeAnswer, cause_of
from sidecar.identity.invalid_token import shown
from sidecar.protocol.sse import sse

CHECK: Final = "stream"
NEEDS_TOKEN: Final = "buffering was not checked: only a stream that stays open shows it"  # noqa: S105 - a sentence
_UNBUFFERED: Final = (
    "switch off buffering for this path (nginx: proxy_buffering off and gzip off; Apache: flushpackets=on; Caddy: "
    "flush_interval -1; CDN: no caching), or use --wait longer than `backend.keepalive`"
)


@dataclass(frozen=True, slots=True)
class StreamTrial:
    """Opening of a stream.

    Attributes:
        head: the answer's head, or the reason why none arrived.
        first: seconds from the head to the first bytes; None when none arrived.
        waited: seconds that were waited.
        ended: the stream ended by itself.
    """

    head: ProbeAnswer
    first: float | None = None
    waited: float = 0.0
    ended: bool = False


def is_stream(trial: StreamTrial) -> bool:
    """Return True for an open event stream."""
    return trial.head.good and trial.head.media_type == sse.MEDIA_TYPE


def judge_stream(trial: StreamTrial) -> Finding:
    """Judge the opening of a stream."""
    head = trial.head
    if head.status == 0:
        return fail(CHECK, f"no answer to a request for a stream: {head.problem}", _UNBUFFERED)
    if not is_stream(trial):
        return unchecked(CHECK, f"the server opens no stream here: {cause_of(head)[0]}; buffering was not checked")
    coding = head.header("content-encoding") or "identity"
    if coding.lower() != "identity":
        return fail(CHECK, f"a proxy compresses the stream ({shown(coding)}), and so holds events back", _UNBUFFERED)
    if trial.first is not None:
        return ok(CHECK, f"first bytes after {trial.first:.1f} s, while the stream stayed open")
    if trial.ended:
        return unchecked(CHECK, "the stream ended without a byte, so buffering was not checked")
    says = f"nothing arrived in {trial.waited:.0f} s, although the sidecar writes a comment every `backend.keepalive`"
    return fail(CHECK, f"{says}: a proxy buffers, or cuts off", _UNBUFFERED)
