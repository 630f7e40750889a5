"""Listening sockets of all workers: the supervisor opens them once and keeps them open."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Self

from sidecar.config.settings.addresses import Address
from sidecar.proxy.listener.accepting.binding import BoundAddress, bind


class SharedListeners:
    """Sockets of each slot, one entry for each address of `listen`.

    Args:
        slots: the bound addresses of each.
    """

    def __init__(self, slots: Sequence[Sequence[BoundAddress]]) -> None:
        self.slots = slots

    @classmethod
    async def open(cls, addresses: Sequence[Address], workers: int) -> Self:
        """Listen on the addresses with sockets for so many workers.

        Raises:
            OSError: one of them cannot be listened on.
        """
        first = await bind(addresses, [None] * len(addresses), shared=True)
        opened = [*first]
        slots = [first]
        try:
            while len(slots) < workers:
                slot: list[BoundAddress] = []
                for each in first:
                    slot.append(each.sibling())
                    opened.append(slot[-1])
                slots.append(slot)
        except BaseException:
            for each in opened:
                each.close()
            raise
        return cls(slots)

    @classmethod
    def inherited(cls, layout: Sequence[Sequence[Any]]) -> Self:
        """Take over the sockets that `layout` describes."""
        return cls(
            [
                [
                    BoundAddress(Address(host, port), tuple(socket.socket(fileno=number) for number in numbers))
                    for host, port, numbers in slot
                ]
                for slot in layout
            ]
        )

    @property
    def layout(self) -> list[list[Any]]:
        """Addresses and descriptors, for a process that inherits them."""
        return [
            [[each.address.host, each.address.port, [made.fileno() for made in each.sockets]] for each in slot]
            for slot in self.slots
        ]

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Descriptors of all sockets."""
        return tuple(made.fileno() for slot in self.slots for each in slot for made in each.sockets)

    def words(self) -> str:
        """Return the addresses for the log."""
        return ", ".join(str(each.address) for each in self.slots[0])

    def close(self) -> None:
        """Stop listening."""
        for slot in self.slots:
            for each in slot:
                each.close()
