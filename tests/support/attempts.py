"""Calls as their clients saw them, and whether the journal's entry of each is what the settlement table says.

For the two tools of `processes.paid_policy`: items that are paid once, where an unknown outcome settles,
and plain credits, where it releases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tests.support.processes import POOL
from tests.support.rig import Reply

Entry = Mapping[str, Any]

REFUSALS = frozenset(
    {
        *("store_unavailable", "overloaded", "insufficient_credits", "consent_missing", "consent_revoked"),
        *("account_disabled", "account_unknown", "quota_exceeded"),
    }
)
"""Codes of calls that the backend never got."""


class Ending(Enum):
    """Knowledge of a client about its call."""

    RESULT = "result"
    FREE = "free"  # refused, or an error that costs nothing
    UNKNOWN = "unknown"  # no answer, or one that says nothing of what the backend did


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call.

    Attributes:
        items: of a call that pays for them once; empty for plain credits.
        count: credits that it reserves at most.
        reply: None when its client left, or the sidecar went away.
        cancelled: whether its client has cancelled it.
    """

    items: tuple[str, ...]
    count: int
    reply: Reply | None
    cancelled: bool = False

    @property
    def call(self) -> str | None:
        """The sidecar's id of the call, which the journal knows it by."""
        return None if self.reply is None else self.reply.headers.get("X-Request-Id")

    @property
    def final(self) -> dict[str, Any]:
        """The response in its answer; empty when there is none."""
        return {} if self.reply is None else _final(self.reply)

    @property
    def ending(self) -> Ending:
        """Return the outcome of the call for its client."""
        reply = self.reply
        if reply is None:
            return Ending.UNKNOWN
        final = self.final
        result, error = final.get("result"), final.get("error") or {}
        if result is not None and not result.get("isError") and result.get("resultType") != "input_required":
            return Ending.RESULT
        if self.cancelled:
            return Ending.UNKNOWN
        failed = result is not None or (reply.status == 200 and error.get("code") == BACKEND_ERROR)
        refused = reply.status in (401, 403, 404) or (error.get("data") or {}).get("code") in REFUSALS
        return Ending.FREE if failed or refused else Ending.UNKNOWN

    def wrong(self, entry: Entry | None) -> str | None:
        """Describe how its journal entry differs from the settlement table; None if it does not.

        Args:
            entry: None when the journal has none: then nothing was ever held for it.
        """
        if entry is None:
            return "a result that nothing was paid for" if self.ending is Ending.RESULT else None
        cost, settled = int(entry.get(f"credit:{POOL}", 0)), entry["event"] == "settled"
        if "expired" in entry:
            return None if self._leased(settled, cost) else "its lease has charged what the tool does not say"
        if self.ending is Ending.FREE:
            return "a call that is free was charged" if cost else None
        if self.ending is Ending.RESULT:
            right = settled and (cost <= self.count if self.items else cost == self.count)
            return None if right else f"a result has cost {cost} of {self.count}"
        return None if cost <= self.count else f"{cost} were charged of {self.count} reserved"

    def _leased(self, settled: bool, cost: int) -> bool:
        """The store learned no outcome: `on_unknown` decides, unless the response can still be resumed."""
        if self.ending is Ending.UNKNOWN and (self.reply is None or b"\nid: " in self.reply.body):
            return cost <= self.count
        return settled if self.items else not cost


BACKEND_ERROR = -32000
"""The JSON-RPC error that `backend.rpc_error` answers."""


def _final(reply: Reply) -> dict[str, Any]:
    """The response in an answer, which is a message with an id; empty when there is none."""
    try:
        streamed = "text/event-stream" in reply.headers.get("Content-Type", "")
        messages = reply.events if streamed else [reply.json]
    except ValueError:
        return {}
    return next((each for each in messages if isinstance(each, dict) and "id" in each), {})


def complaints(attempts: Iterable[Attempt], entries: Iterable[Entry]) -> list[str]:
    """Compare the calls whose id clients know with their journal entries; return the differences."""
    ended: dict[str, Entry] = {}
    found = []
    for entry in entries:
        if entry["event"] in ("settled", "released"):
            if entry["call"] in ended:
                found.append(f"resolved twice: {ended[entry['call']]} and {entry}")
            ended[entry["call"]] = entry
    for attempt in attempts:
        if attempt.call is not None and (wrong := attempt.wrong(ended.get(attempt.call))) is not None:
            found.append(f"{wrong}: {attempt} {ended.get(attempt.call)}")
    return found
