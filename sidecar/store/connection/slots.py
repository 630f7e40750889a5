"""Slots of a cluster: the slot of a key, and the primary of each slot in one node's view."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from sidecar.store.connection.resp import StoreError
from sidecar.store.connection.store_connection import StoreConnection
from sidecar.store.connection.store_url import Address

SLOTS: Final = REDIS_CLUSTER_HASH_SLOTS
"""Number of slots."""

_REMEMBERED: Final = 65_536

Range = tuple[int, int, Address]


@lru_cache(_REMEMBERED)
def slot_of(key: str) -> int:
    """Return the slot of a key, which its hash tag decides."""
    return int(key_slot(key.encode()))


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Primary of each slot in one node's view.

    Attributes:
        epoch: increases with every failover and every move of slots; the map with the greater epoch is newer.
        healthy: whether the node accepts commands; one that is partitioned from the majority does not.
        ranges: first slot, last slot and primary.
        nodes: addresses of all nodes, including replicas.
    """

    epoch: int
    healthy: bool
    ranges: tuple[Range, ...]
    nodes: frozenset[Address]


async def fetch_slot_map(node: StoreConnection) -> SlotMap:
    """Read the slot map of one node.

    Raises:
        StoreError: the reply is unusable.
    """
    asked = node.send("CLUSTER", "INFO"), node.send("CLUSTER", "SLOTS")
    info, slots = await asyncio.gather(*asked)
    try:
        facts = dict(line.partition(":")[::2] for line in info.decode(errors="replace").splitlines())
        epoch, healthy = int(facts.get("cluster_current_epoch", "0")), facts.get("cluster_state") == "ok"
        host = node.address[0] if node.address is not None else ""
        ranges: list[Range] = []
        nodes: set[Address] = set()
        for first, last, *servers in slots:
            found = [*_addresses(servers, host)]
            nodes.update(each for each in found if each is not None)
            if found and found[0] is not None:
                ranges.append((int(first), int(last), found[0]))
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise StoreError("the reply of a cluster node is not a slot map") from error
    return SlotMap(epoch, healthy, tuple(ranges), frozenset(nodes))


def _addresses(servers: Iterable[Sequence[Any]], asked: str) -> Iterable[Address | None]:
    """Return the addresses of a range's servers: no host means the node that was asked, `?` an unknown one."""
    for host, port, *_ in servers:
        name = asked if not host else host.decode()
        yield None if name == "?" else (name, int(port))
