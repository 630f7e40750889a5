"""Cluster: one ordered connection per primary, and the slot map, which gives the primary of an account.

The map is refreshed at intervals, and at once when a node rejects a command or is lost. A command that may have run is
never sent twice: a node that answers `MOVED` or `ASK` has not run it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any, Final

from sidecar.store.connection.diagnosis import combine, explain, is_permanent
from sidecar.store.connection.layout import LAYOUT_KEY
from sidecar.store.connection.resp import Argument, OnPush, RejectedError, UnsentError
from sidecar.store.connection.slots import SLOTS, SlotMap, fetch_slot_map, slot_of
from sidecar.store.connection.store_connection import CALL_TIMEOUT, PRIMARY, Prepare, Send, StoreConnection
from sidecar.store.connection.store_url import Address, StoreLocation

REFRESH_INTERVAL: Final = 1.0
"""Seconds between two refreshes of the map while all primaries are connected."""

_FAST_REFRESH: Final = 0.2  # the same while a primary is unreachable
_MIN_PAUSE: Final = 0.05  # the shortest pause, also when a command was rejected
_VISIT_TIMEOUT: Final = 1.0  # seconds for connecting to a node that may have the map
_MAX_ASKED: Final = 3  # nodes asked for the map; the newest reply is used
_ANY_ROLE: Final = PRIMARY | {b"replica", b"slave"}
_MAX_START_ATTEMPTS: Final = 3  # failed attempts, after which starting no longer waits for a node
_LAYOUT_TIMEOUT: Final = 0.5
_DOWN: Final = "the cluster reports that it is down"
_NOWHERE: Final = "no node of the cluster could be asked for its slots"


class Cluster:
    """Primaries of a cluster; an implementation of `topology.Servers`.

    Args:
        endpoint: addresses of some nodes; discovered nodes have the same TLS and credentials.
        prepare: see `store_connection.Prepare`; awaited for each primary. Its commands on the layout key go to the
            node that has the key, so that no node is used unless the whole cluster has this layout.
        timeout: seconds a reply may take.
    """

    def __init__(self, endpoint: StoreLocation, *, prepare: Prepare, timeout: float = CALL_TIMEOUT) -> None:
        self._endpoint = endpoint
        self._prepare = prepare
        self._timeout = timeout
        self._owners: list[StoreConnection | None] = [None] * SLOTS
        self._primaries: dict[Address, StoreConnection] = {}
        self._map: SlotMap | None = None  # None after a node has contradicted it
        self._known: frozenset[Address] = frozenset(endpoint.addresses)
        self._listeners: list[StoreConnection] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._refresh_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unavailable_reason: str | None = "not connected yet"
        self._fault: Exception | None = None  # of the last question for the map
        self._down: str | None = None
        self._was_complete = False

    # --- the interface of `topology.Servers` ----------------------------------------------------

    @property
    def up(self) -> bool:
        """True while any primary is connected, after all of them were once.

        A primary that dies later must not stop calls of accounts on the others.
        """
        fresh = self._task is not None and not self._task.done()  # otherwise the map is no longer refreshed
        return fresh and self._was_complete and self._down is None and any(node.up for node in self._primaries.values())

    @property
    def error(self) -> str | None:
        """Unreachable primaries and the reasons; None while all are connected."""
        unreachable = [f"{host}:{port}: {node.error}" for (host, port), node in self._primaries.items() if not node.up]
        return "; ".join(unreachable) or self._unavailable_reason or self._down

    @property
    def fault(self) -> Exception | None:
        """Last failure of refreshing the map or connecting to a primary.

        Permanent failures come first: an unusable node with the layout key makes all remaining nodes wait.
        """
        found = [fault for fault in (self._fault, *(node.fault for node in self._primaries.values())) if fault]
        return next((fault for fault in found if is_permanent(fault)), found[0] if found else None)

    @property
    def unreachable(self) -> int:
        """Number of unreachable primaries."""
        return sum(not node.up for node in self._primaries.values()) or int(self._unavailable_reason is not None)

    @property
    def nodes(self) -> Sequence[StoreConnection]:
        """Primaries that have slots.

        Raises:
            UnsentError: some slots have no primary.
        """
        if self._unavailable_reason is not None:
            raise UnsentError(self._unavailable_reason)
        return tuple(self._primaries.values())

    async def start(self, within: float = 10.0) -> None:
        """Connect to every reachable primary, and stay connected until `close`.

        Raises:
            UnsentError: no primary was reachable within `within` seconds; attempts continue.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._refresh_forever(), name="store cluster")
        end = asyncio.get_running_loop().time() + within
        while not self._is_complete():
            nodes, over = self._primaries.values(), asyncio.get_running_loop().time() >= end
            some = any(node.up for node in nodes)
            if some and (over or all(node.up or node.failed_attempts >= _MAX_START_ATTEMPTS for node in nodes)):
                return
            if over:
                raise UnsentError(f"the store cannot be reached: {self.error}")
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Disconnect; pending commands fail with `UnansweredError`."""
        tasks = [*self._leaving, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(node.close() for node in self._primaries.values()))
        self._task = None

    def at(self, key: str) -> StoreConnection:
        """Return the primary that has a key.

        Raises:
            UnsentError: no primary is known.
        """
        node = self._owners[slot_of(key)]
        if node is None:
            self._refresh_now.set()
            raise UnsentError(self._unavailable_reason or f"no primary is known for slot {slot_of(key)}")
        if not node.up:
            self._refresh_now.set()  # a replica may have been promoted
        return node

    def redirect(self, error: RejectedError, key: str) -> StoreConnection | None:
        """Return the node that may run a rejected command; refresh the map if the rejection contradicts it."""
        if error.code == "NOSCRIPT":
            return self.at(key)
        if error.code in ("MOVED", "ASK"):
            address = self._target(error, key)
            if address is None or self._task is None:
                return None
            node = self._primary(address)
            if error.code == "MOVED":
                self._owners[slot_of(key)] = node
                self._map = None
                self._refresh_now.set()
            return node
        if error.code in ("CLUSTERDOWN", "MASTERDOWN", "READONLY"):
            self._refresh_now.set()
        return None

    def subscriber(self, prepare: Prepare, on_push: OnPush) -> StoreConnection:
        """Return a connection to any node, not yet started: messages reach all nodes."""
        listener = StoreConnection(
            self._endpoint, prepare=prepare, on_push=on_push, locate=self._anywhere, roles=_ANY_ROLE
        )
        self._listeners.append(listener)
        return listener

    # --- the map ----------------------------------------------------------------------------------

    async def _refresh_forever(self) -> None:
        while True:
            try:
                self._adopt(await self._newest_map())
            except Exception as fault:  # noqa: BLE001 - any fault: this loop must go on
                self._unavailable_reason, self._fault = explain(fault), fault
            # Without a connected primary, a refresh opens connections: spread over sidecars, and not at every call.
            known = any(node.up for node in self._primaries.values())
            await asyncio.sleep(_MIN_PAUSE if known else random.uniform(_FAST_REFRESH, 2 * _FAST_REFRESH))  # noqa: S311 - spreads them
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_INTERVAL if self._is_complete() else _FAST_REFRESH):
                    await self._refresh_now.wait()
            self._refresh_now.clear()

    def _is_complete(self) -> bool:
        """Return whether every slot has a connected primary."""
        whole = (
            self._unavailable_reason is None
            and self._down is None
            and all(node.up for node in self._primaries.values())
        )
        self._was_complete = self._was_complete or whole
        return whole

    async def _newest_map(self) -> SlotMap:
        """Return the newest slot map of some nodes.

        Raises:
            StoreError: no node has a map; an `UnsentError` if none was reachable.
        """
        connected = [node for node in self._primaries.values() if node.up]
        asked = random.sample(connected, min(len(connected), _MAX_ASKED))
        answers = await asyncio.gather(*map(fetch_slot_map, asked), return_exceptions=True)
        maps = [answer for answer in answers if isinstance(answer, SlotMap)]
        return max(maps, key=lambda each: (each.epoch, each.healthy)) if maps else await self._discover()

    async def _discover(self) -> SlotMap:
        """Return the map of the first node that answers, of those in the URL and those known before."""
        addresses = [*{*self._endpoint.addresses, *self._known}]
        asking = {asyncio.create_task(self._slot_map_from(address)): "{}:{}".format(*address) for address in addresses}
        faults: dict[str, BaseException] = {}
        waiting = set(asking)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    fault = task.exception()
                    if fault is None:
                        return task.result()
                    faults[asking[task]] = fault
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        raise combine(_NOWHERE, faults, tls=self._endpoint.store_tls is not None)

    async def _slot_map_from(self, address: Address) -> SlotMap:
        visitor = StoreConnection(self._endpoint.node(address), roles=_ANY_ROLE)
        try:
            await visitor.start(within=_VISIT_TIMEOUT)
            return await fetch_slot_map(visitor)
        except UnsentError as fault:
            raise visitor.fault or fault from fault
        finally:
            await visitor.close()

    def _adopt(self, found: SlotMap) -> None:
        if found != self._map:
            self._distribute(found)
        # Also for an unchanged map: refreshes may have failed in between.
        unassigned = self._owners.count(None)
        self._unavailable_reason = f"{unassigned} of the cluster's slots have no primary" if unassigned else None
        self._down = None if found.healthy else _DOWN
        self._fault = None

    def _distribute(self, found: SlotMap) -> None:
        self._owners = [None] * SLOTS
        for first, last, address in found.ranges:
            self._owners[first : last + 1] = [self._primary(address)] * (last + 1 - first)
        for address in self._primaries.keys() - {address for _, _, address in found.ranges}:
            self._retire(self._primaries.pop(address))
        for listener in self._listeners:
            if listener.address is not None and listener.address not in found.nodes:
                listener.reconnect("the node has left the cluster")
        self._map, self._known = found, found.nodes

    # --- its nodes --------------------------------------------------------------------------------

    def _primary(self, address: Address) -> StoreConnection:
        node = self._primaries.get(address)
        if node is not None:
            return node
        made = self._primaries[address] = StoreConnection(
            self._endpoint.node(address),
            prepare=lambda send: self._prepare(self._by_layout(made, send)),
            timeout=self._timeout,
        )
        made.open()
        return made

    def _retire(self, node: StoreConnection) -> None:
        task = asyncio.create_task(node.retire(), name="store node leaving")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _by_layout(self, node: StoreConnection, send: Send) -> Send:
        """Return a sender to a node that is being prepared; commands on the layout key go to the node that has it."""

        def routed(*command: Argument) -> asyncio.Future[Any]:
            if LAYOUT_KEY not in command or self.at(LAYOUT_KEY) is node:
                return send(*command)
            return asyncio.ensure_future(self._send_to_layout_owner(command))

        return routed

    async def _send_to_layout_owner(self, command: tuple[Argument, ...]) -> Any:
        owner = self.at(LAYOUT_KEY)
        await owner.start(_LAYOUT_TIMEOUT)
        return await owner.send(*command)

    def _target(self, error: RejectedError, key: str) -> Address | None:
        """Return the node of `MOVED slot host:port`; without a host, it is on the host that sent it."""
        host, _, port = str(error).rpartition(" ")[2].rpartition(":")
        owner = self._owners[slot_of(key)]
        if not host and owner is not None and owner.address is not None:
            host = owner.address[0]
        return (host, int(port)) if host and host != "?" and port.isdigit() else None

    async def _anywhere(self) -> Address:
        connected = [address for address, node in self._primaries.items() if node.up]
        return random.choice(connected or [*self._known])  # noqa: S311 - spreads load, hides nothing
