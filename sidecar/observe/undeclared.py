"""Names of undeclared tools that callers ask for: in the log, so that an operator finds a misspelt declaration.

A caller chooses the name, so each is written once an hour, escaped and cut, and the number of names is bounded.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from sidecar.errors import ErrorCode
from sidecar.observe.logs import Lines
from sidecar.observe.redact import cut, identifier, sentence
from sidecar.outcome import Exchange

# Members of enums as constants: as attributes of their classes they take ten times as long.
_TOOL_UNKNOWN: Final = ErrorCode.TOOL_UNKNOWN

HOUR: Final = 3600.0
MAX_NAMES: Final = 1000
"""Names in one hour."""
MAX_OF_ACCOUNT: Final = 20
"""Names of one account in one hour."""
MAX_LENGTH: Final = 128
"""Characters of one name, as long as the longest that a policy can declare."""


class UndeclaredTools:
    """Log of the undeclared tools that callers ask for.

    Args:
        lines: the log.
        clock: seconds that never go back.
    """

    def __init__(self, lines: Lines, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._clock = clock
        self._since = clock()
        self._names: set[str] = set()
        self._by_account: Counter[tuple[str, str]] = Counter()

    def note(self, exchange: Exchange) -> None:
        """Write the name that a call asked for, unless it was written within the hour."""
        refusal, call, caller = exchange.refusal, exchange.call, exchange.caller
        if refusal is None or refusal.code is not _TOOL_UNKNOWN or exchange.tool is not None:
            return
        name = None if call is None else call.params.get("name")
        if caller is None or not isinstance(name, str):
            return
        self._begin_hour()
        shown = cut(name[:MAX_LENGTH].encode("unicode_escape").decode("ascii"), MAX_LENGTH)
        account = (caller.issuer_id, caller.account)
        full = len(self._names) >= MAX_NAMES or self._by_account[account] >= MAX_OF_ACCOUNT
        if shown in self._names or full:
            return
        self._names.add(shown)
        self._by_account[account] += 1
        fields = {"request_id": exchange.request_id, "account": identifier(caller.account), "name": sentence(shown)}
        if self._lines.wants("info"):
            self._lines.write("info", "tool_undeclared", fields)

    def _begin_hour(self) -> None:
        if self._clock() - self._since < HOUR:
            return
        self._since = self._clock()
        self._names.clear()
        self._by_account.clear()
