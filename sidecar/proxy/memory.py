"""Budget of the bytes that this process reads and buffers for its callers (`limits.memory`).

Bytes are counted once they have arrived. A JSON text needs a multiple of its size while it is decoded:
`decoded_size` estimates it from a text's alphabet and the number of its values, with factors that are measured
(`docs/config.md`). Plain integers and dictionaries: no clock, no I/O, no await.
"""

from __future__ import annotations

from typing import Final

SMALL: Final = 64 * 1024
"""Bytes up to which a lease may use the part that is reserved for small requests and answers."""
SHARE: Final = 4
"""Divisor of the budget for the part that one account may hold."""
RESERVE: Final = 8
"""Divisor of the budget, and of each account's share, for the part that is reserved for small leases."""

VALUE: Final = 160
"""Bytes of one value of a request: a number that is kept as it was sent, or a key that has to be folded."""
ANSWER_VALUE: Final = 96
"""Bytes of one value of an answer."""
ESCAPED: Final = 8
"""Additional copies of a text where escapes may double its width or hold half a surrogate pair."""
COPIES: Final = 5
"""Copies of a text that exist at one time: as text, decoded, edited, and in the call that is sent."""
MOST: Final = 80
"""Bytes that one byte of JSON becomes at most; the worst known case is 73 (`{"":{"":{}}}` together with `-0`)."""

# First bytes of characters beyond U+00FF and U+FFFF in UTF-8: a text that has one takes 2 or 4 bytes a character.
_ASTRAL: Final = tuple(bytes([byte]) for byte in range(0xF0, 0xF5))
_SHORT: Final = 512  # bytes of a text that is not analysed: even its worst case is small
_STRUCTURE: Final = (b",", b":", b"[", b"{")


def decoded_size(data: bytes, value: int = VALUE) -> int:
    """Estimate how many bytes a JSON text takes while it is decoded, the text itself included.

    Args:
        data: the text, in UTF-8; it need not be valid.
        value: bytes of one value, `VALUE` or `ANSWER_VALUE`.
    """
    size = len(data)
    if size <= _SHORT:
        return MOST * size
    width = 1 if data.isascii() else 4 if any(lead in data for lead in _ASTRAL) else 2
    plain = 1 + COPIES * width
    if b"\\u" in data:
        plain += ESCAPED
        value += value // 2
    return min(MOST * size, plain * size + value * sum(map(data.count, _STRUCTURE)))


class _Account:
    """Bytes and leases of one account, which is forgotten with its last lease: often as soon as one call has ended."""

    held = 0
    leases = 0


class MemoryBudget:
    """Budget of this process, and its leases.

    Attributes:
        used: bytes held now.
        peak: the most bytes ever held.
    """

    def __init__(self) -> None:
        self.used = 0
        self.peak = 0
        self._accounts: dict[str, _Account] = {}

    @property
    def accounts(self) -> int:
        """Number of accounts that have a lease."""
        return len(self._accounts)

    def lease(self, account: str, total: int) -> MemoryLease:
        """Open a lease that holds nothing yet; the caller closes it.

        Args:
            account: digest of the account that is charged.
            total: bytes that the process may hold (`limits.memory`).
        """
        owner = self._accounts.get(account)
        if owner is None:
            owner = self._accounts[account] = _Account()
        owner.leases += 1
        return MemoryLease(self, account, owner, total)

    def forget(self, account: str) -> None:
        """Remove an account whose last lease is closed."""
        del self._accounts[account]


class MemoryLease:
    """Lease of the bytes that one request and its answer hold.

    It grows only while there is room to decode what has arrived as plain text, so that requests and answers that
    arrive together do not exhaust the room of each other.

    Attributes:
        kept: bytes of a message that has arrived completely and stays decoded; they count for the account, too.
        held: bytes of a message or an answer that have arrived and are kept; they count for the account.
        working: bytes that decoding takes for a moment; they count for the process alone.
    """

    __slots__ = ("_account", "_budget", "_name", "_open", "_total", "held", "kept", "working")

    def __init__(self, budget: MemoryBudget, name: str, account: _Account, total: int) -> None:
        self._budget = budget
        self._name = name
        self._account = account
        self._total = total
        self._open = True
        self.kept = self.held = self.working = 0

    def fits(self, more: int) -> bool:
        """Return True when this number of additional bytes could be held now."""
        held, total = self.held + more, self._total
        share = total // SHARE
        if held > SMALL:
            total -= total // RESERVE
            share -= share // RESERVE
        return self._budget.used + more + COPIES * held <= total and self._account.held + more <= share

    def grow(self, more: int) -> bool:
        """Hold additional bytes; return False, and change nothing, when they do not fit."""
        if not self._open or (more > 0 and not self.fits(more)):
            return False
        account, budget = self._account, self._budget
        self.held += more
        account.held += more
        budget.used = used = budget.used + more
        if used > budget.peak:
            budget.peak = used
        return True

    def resize(self, size: int) -> bool:
        """Hold bytes in total; return False, and change nothing, when they do not fit. A smaller total always fits."""
        more, budget, account = size - self.held, self._budget, self._account
        if more > 0 and not (self._open and self.fits(more)):
            return False
        self.held = size
        account.held += more
        budget.used += more
        if budget.used > budget.peak:
            budget.peak = budget.used
        return True

    def keep(self, size: int) -> bool:
        """Hold bytes for a message that has arrived, instead of all held so far; return False when they do not fit.

        What grows from then on is the answer to it.
        """
        account, budget, total = self._account, self._budget, self._total
        more = size - self.kept - self.held
        used, owned, share = budget.used + more, account.held + more, total // SHARE
        if size > SMALL:
            total -= total // RESERVE
            share -= share // RESERVE
        if more > 0 and (not self._open or used > total or owned > share):
            return False
        self.kept, self.held = size, 0
        account.held = owned
        budget.used = used
        if used > budget.peak:
            budget.peak = used
        return True

    def could_decode(self, size: int) -> bool:
        """Return True when there is room for working memory that is released before anything else happens."""
        budget = self._budget
        used = budget.used + size
        if not self._open or used > (self._total if size <= SMALL else self._total - self._total // RESERVE):
            return False
        if used > budget.peak:
            budget.peak = used
        return True

    def decode(self, size: int) -> bool:
        """Replace the working memory; False when it does not fit: then there is none."""
        budget = self._budget
        budget.used -= self.working
        self.working = 0
        total = self._total if size <= SMALL else self._total - self._total // RESERVE
        if not self._open or budget.used + size > total:
            return False
        self.working = size
        budget.used += size
        if budget.used > budget.peak:
            budget.peak = budget.used
        return True

    def decoded(self) -> None:
        """Release the working memory."""
        self._budget.used -= self.working
        self.working = 0

    def close(self) -> None:
        """Release everything. A closed lease holds nothing; closing it again changes nothing."""
        if not self._open:
            return
        self._open = False
        account, budget = self._account, self._budget
        held = self.kept + self.held
        budget.used -= held + self.working
        account.held -= held
        self.kept = self.held = self.working = 0
        account.leases -= 1
        if not account.leases:
            budget.forget(self._name)


def unbounded() -> MemoryLease:
    """Open a lease of a separate budget without a limit, for exchanges of the sidecar itself."""
    return MemoryBudget().lease("", 1 << 62)
