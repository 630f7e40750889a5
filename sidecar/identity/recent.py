"""Bounded memory of callers' recent use: the least recently used entry is evicted, the caller's own first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from sidecar.model import Caller

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Owner = tuple[str, str, str]
"""Issuer id, subject and client id."""


def owner_of(caller: Caller) -> Owner:
    """Return the owner of a caller's entries; a new token of the same client has the same owner."""
    return (caller.issuer_id, caller.subject, caller.client_id)


class Recent(Generic[Key, Value]):
    """Entries in the order of their last use.

    One owner has at most half of them, and evicts its own entries while it has any, so a flood from one client does not
    evict the entries of others.

    Args:
        capacity: the maximum number of entries.
        evicted: called with the owner of each evicted entry.
    """

    def __init__(self, capacity: int, evicted: Callable[[Owner | None], None] = lambda _: None) -> None:
        self._capacity = capacity
        self._share = max(1, capacity // 2)
        self._evicted = evicted
        self._entries: OrderedDict[Key, tuple[Owner | None, Value]] = OrderedDict()
        self._owned: dict[Owner, OrderedDict[Key, None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def __repr__(self) -> str:
        return f"Recent({list(self._entries)!r})"

    def keys_of(self, owner: Owner) -> tuple[Key, ...]:
        """Return the keys of an owner's entries, the least recently used first."""
        return tuple(self._owned.get(owner, ()))

    def get(self, key: Key) -> Value | None:
        """Return an entry and mark it as used; None if there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        owner, value = entry
        self._entries.move_to_end(key)
        if owner is not None:
            self._owned[owner].move_to_end(key)
        return value

    def put(self, key: Key, owner: Owner | None, value: Value) -> None:
        """Store an entry, replacing one with this key, and evict another when full.

        Args:
            key: its key.
            owner: the caller that it belongs to; None if the owner is unknown.
            value: the entry.
        """
        if key in self._entries:
            self.pop(key)
        own = self._owned.get(owner) if owner is not None else None
        full = len(self._entries) >= self._capacity
        if own and (full or len(own) >= self._share):
            self._evict(next(iter(own)))
            own = self._owned.get(owner) if owner is not None else None  # its last entry may have been evicted
        elif full:
            self._evict(next(iter(self._entries)))
        self._entries[key] = (owner, value)
        if owner is None:
            return
        if own is None:
            self._owned[owner] = own = OrderedDict()
        own[key] = None

    def pop(self, key: Key) -> Value | None:
        """Remove an entry and return it."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        owner, value = entry
        if owner is not None:
            own = self._owned[owner]
            del own[key]
            if not own:
                del self._owned[owner]
        return value

    def _evict(self, key: Key) -> None:
        owner = self._entries[key][0]
        self.pop(key)
        self._evicted(owner)
