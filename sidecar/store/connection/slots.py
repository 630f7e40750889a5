"""The slots of a cluster: which one a key is in, and which primary has which, as one node sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from sidecar.ledger.connection import Connection
from sidecar.ledger.endpoint import Address
from sidecar.ledger.wire import StoreError

SLOTS: Final = REDIS_CLUSTER_HASH_SLOTS
"""How many there are."""

_REMEMBERED: Final = 65_536

Range = tuple[int, int, Address]


@lru_cache(_REMEMBERED)
def slot_of(key: str) -> int:
    """The slot of a key, which its hash tag decides."""
    return int(key_slot(key.encode()))


@dataclass(frozen=True, slots=True)
class View:
    """Which primary has which slots, as one node sees it.

    Attributes:
        epoch: grows with every failover and every move of slots: of two views the greater is newer.
        healthy: whether the node takes commands; one that was cut off from most others does not.
        ranges: first slot, last slot, and the primary that has them.
        nodes: where any node is, replicas included.
    """

    epoch: int
    healthy: bool
    ranges: tuple[Range, ...]
    nodes: frozenset[Address]


async def view_of(node: Connection) -> View:
    """What one node says of the cluster.

    Raises:
        StoreError: nothing that can be used.
    """
    asked = node.send("CLUSTER", "INFO", now=False), node.send("CLUSTER", "SLOTS")
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
        raise StoreError("a node of the cluster answers what is no map of its slots") from error
    return View(epoch, healthy, tuple(ranges), frozenset(nodes))


def _addresses(servers: Iterable[Sequence[Any]], asked: str) -> Iterable[Address | None]:
    """Where the servers of one range are: no host is the one that was asked, `?` one that is not known."""
    for host, port, *_ in servers:
        name = asked if not host else host.decode()
        yield None if name == "?" else (name, int(port))
