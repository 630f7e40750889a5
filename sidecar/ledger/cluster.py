"""A cluster: one ordered connection per primary, and the map that says which of them has an account's slot.

The map is asked for again and again, and at once when a node refuses or is lost. Nothing that may have run is
sent twice: `MOVED` and `ASK` are answers of a node that did not run the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any, Final

from sidecar.ledger.connection import CALL_TIMEOUT, PRIMARY, Connection, Prepare, Send
from sidecar.ledger.diagnosis import explain, refuses, together
from sidecar.ledger.endpoint import Address, Endpoint
from sidecar.ledger.layout import LAYOUT_KEY
from sidecar.ledger.slots import SLOTS, View, slot_of, view_of
from sidecar.ledger.wire import Argument, Pushed, RejectedError, UnsentError

ASK_EVERY: Final = 1.0
"""Seconds between two questions for the map while all is well."""

_ASK_SOON: Final = 0.2  # the same while some primary is away
_ASK_LEAST: Final = 0.05  # a pause that no refusal cuts short
_VISIT: Final = 1.0  # seconds for connecting to a node that may be asked for the map
_ASKED_AT_ONCE: Final = 3  # nodes; of what they answer the newest counts
_ANY_ROLE: Final = PRIMARY | {b"replica", b"slave"}
_FAILED_ENOUGH: Final = 3  # attempts, after which starting waits no longer for a node that is away
_LAYOUT_WITHIN: Final = 0.5
_DOWN: Final = "the cluster says that it is down"
_NOWHERE: Final = "no node of the cluster could be asked for its slots"


class Cluster:
    """The primaries of a cluster; `topology.Servers` says what each method is for.

    Args:
        endpoint: where some nodes are; those found have the same TLS and credentials.
        prepare: see `connection.Prepare`; awaited for each primary. What it sends about the layout's mark goes
            to the node that has the mark, so that no node is used unless the whole cluster is of this layout.
        timeout: seconds a reply may take.
    """

    def __init__(self, endpoint: Endpoint, *, prepare: Prepare, timeout: float = CALL_TIMEOUT) -> None:
        self._endpoint = endpoint
        self._prepare = prepare
        self._timeout = timeout
        self._owners: list[Connection | None] = [None] * SLOTS
        self._primaries: dict[Address, Connection] = {}
        self._view: View | None = None  # None once a node has contradicted it
        self._known: frozenset[Address] = frozenset(endpoint.addresses)
        self._listeners: list[Connection] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._look_again = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lack: str | None = "not connected yet"
        self._fault: Exception | None = None  # of the last question for the map
        self._down: str | None = None
        self._was_whole = False

    # --- what every store has -------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Whether some primary can be asked, once all of them could.

        One that dies later must not take the sidecar away from accounts that the others have.
        """
        kept = self._task is not None and not self._task.done()  # else the map is that of a moment ago
        return kept and self._was_whole and self._down is None and any(node.up for node in self._primaries.values())

    @property
    def error(self) -> str | None:
        """Which primaries cannot be asked, and why."""
        away = [f"{host}:{port}: {node.error}" for (host, port), node in self._primaries.items() if not node.up]
        return "; ".join(away) or self._lack or self._down

    @property
    def fault(self) -> Exception | None:
        """What asking for the map, or connecting to some primary, has failed with last.

        What waiting would not cure comes first: others may only wait for that node, which has the layout's mark.
        """
        found = [fault for fault in (self._fault, *(node.fault for node in self._primaries.values())) if fault]
        return next((fault for fault in found if refuses(fault)), found[0] if found else None)

    @property
    def away(self) -> int:
        """How many primaries cannot be asked now."""
        return sum(not node.up for node in self._primaries.values()) or int(self._lack is not None)

    @property
    def nodes(self) -> Sequence[Connection]:
        """Every primary that has slots.

        Raises:
            UnsentError: some slots have none.
        """
        if self._lack is not None:
            raise UnsentError(self._lack)
        return tuple(self._primaries.values())

    async def start(self, within: float = 10.0) -> None:
        """Connect to every primary that can be reached, and keep connected until `close`.

        Raises:
            UnsentError: none could be reached within so many seconds; attempts go on.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="store cluster")
        end = asyncio.get_running_loop().time() + within
        while not self._whole():
            nodes, over = self._primaries.values(), asyncio.get_running_loop().time() >= end
            some = any(node.up for node in nodes)
            if some and (over or all(node.up or node.failed >= _FAILED_ENOUGH for node in nodes)):
                return
            if over:
                raise UnsentError(f"the store cannot be reached: {self.error}")
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Disconnect; commands without an answer fail as `UnansweredError`."""
        tasks = [*self._leaving, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(node.close() for node in self._primaries.values()))
        self._task = None

    def at(self, key: str) -> Connection:
        """The primary that has a key.

        Raises:
            UnsentError: none is known.
        """
        node = self._owners[slot_of(key)]
        if node is None:
            self._look_again.set()
            raise UnsentError(self._lack or f"no primary is known for slot {slot_of(key)}")
        if not node.up:
            self._look_again.set()  # another may have taken its place
        return node

    def told(self, error: RejectedError, key: str) -> Connection | None:
        """Where a refused command may be sent once more; a refusal that concerns the map has it asked for anew."""
        if error.code == "NOSCRIPT":
            return self.at(key)
        if error.code in ("MOVED", "ASK"):
            address = self._named(error, key)
            if address is None or self._task is None:
                return None
            node = self._primary(address)
            if error.code == "MOVED":
                self._owners[slot_of(key)] = node
                self._view = None
                self._look_again.set()
            return node
        if error.code in ("CLUSTERDOWN", "MASTERDOWN", "READONLY"):
            self._look_again.set()
        return None

    def beside(self, prepare: Prepare, pushed: Pushed) -> Connection:
        """A connection to any node, not yet started: whatever is published reaches all of them."""
        listener = Connection(self._endpoint, prepare=prepare, pushed=pushed, where=self._anywhere, roles=_ANY_ROLE)
        self._listeners.append(listener)
        return listener

    # --- the map ----------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            try:
                self._adopt(await self._look())
            except Exception as fault:  # noqa: BLE001 - whatever it was: nobody else would ask again
                self._lack, self._fault = explain(fault), fault
            # With no primary to ask, asking takes new connections: not all sidecars at once, and not for every call.
            known = any(node.up for node in self._primaries.values())
            await asyncio.sleep(_ASK_LEAST if known else random.uniform(_ASK_SOON, 2 * _ASK_SOON))  # noqa: S311 - spreads them
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY if self._whole() else _ASK_SOON):
                    await self._look_again.wait()
            self._look_again.clear()

    def _whole(self) -> bool:
        """Whether every slot has a primary that can be asked now."""
        whole = self._lack is None and self._down is None and all(node.up for node in self._primaries.values())
        self._was_whole = self._was_whole or whole
        return whole

    async def _look(self) -> View:
        """The newest view of some nodes.

        Raises:
            StoreError: none of them says; an `UnsentError` when none could be asked.
        """
        connected = [node for node in self._primaries.values() if node.up]
        asked = random.sample(connected, min(len(connected), _ASKED_AT_ONCE))
        answers = await asyncio.gather(*map(view_of, asked), return_exceptions=True)
        views = [answer for answer in answers if isinstance(answer, View)]
        return max(views, key=lambda view: (view.epoch, view.healthy)) if views else await self._discover()

    async def _discover(self) -> View:
        """The view of the first node that answers, of those that the URL names or that were ever met."""
        addresses = [*{*self._endpoint.addresses, *self._known}]
        asking = {asyncio.create_task(self._view_from(address)): "{}:{}".format(*address) for address in addresses}
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
        raise together(_NOWHERE, faults, tls=self._endpoint.trust is not None)

    async def _view_from(self, address: Address) -> View:
        visitor = Connection(self._endpoint.node(address), roles=_ANY_ROLE)
        try:
            await visitor.start(within=_VISIT)
            return await view_of(visitor)
        except UnsentError as fault:
            raise visitor.fault or fault from fault
        finally:
            await visitor.close()

    def _adopt(self, view: View) -> None:
        if view != self._view:
            self._distribute(view)
        # Also of a view that was known: since then nobody may have answered.
        bare = self._owners.count(None)
        self._lack = f"{bare} of the cluster's slots have no primary" if bare else None
        self._down = None if view.healthy else _DOWN
        self._fault = None

    def _distribute(self, view: View) -> None:
        self._owners = [None] * SLOTS
        for first, last, address in view.ranges:
            self._owners[first : last + 1] = [self._primary(address)] * (last + 1 - first)
        for address in self._primaries.keys() - {address for _, _, address in view.ranges}:
            self._retire(self._primaries.pop(address))
        for listener in self._listeners:
            if listener.address is not None and listener.address not in view.nodes:
                listener.leave("the node has left the cluster")
        self._view, self._known = view, view.nodes

    # --- its nodes --------------------------------------------------------------------------------

    def _primary(self, address: Address) -> Connection:
        node = self._primaries.get(address)
        if node is not None:
            return node
        made = self._primaries[address] = Connection(
            self._endpoint.node(address),
            prepare=lambda send: self._prepare(self._by_layout(made, send)),
            timeout=self._timeout,
        )
        made.open()
        return made

    def _retire(self, node: Connection) -> None:
        task = asyncio.create_task(node.retire(), name="store node leaving")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _by_layout(self, node: Connection, send: Send) -> Send:
        """What sends to a node that is being prepared, and to another what is about the layout's mark."""

        def routed(*command: Argument) -> asyncio.Future[Any]:
            if LAYOUT_KEY not in command or self.at(LAYOUT_KEY) is node:
                return send(*command)
            return asyncio.ensure_future(self._about_layout(command))

        return routed

    async def _about_layout(self, command: tuple[Argument, ...]) -> Any:
        owner = self.at(LAYOUT_KEY)
        await owner.start(_LAYOUT_WITHIN)
        return await owner.send(*command)

    def _named(self, error: RejectedError, key: str) -> Address | None:
        """The node that `MOVED slot host:port` names; without a host it is on the one that was asked."""
        host, _, port = str(error).rpartition(" ")[2].rpartition(":")
        owner = self._owners[slot_of(key)]
        if not host and owner is not None and owner.address is not None:
            host = owner.address[0]
        return (host, int(port)) if host and host != "?" and port.isdigit() else None

    async def _anywhere(self) -> Address:
        answering = [address for address, node in self._primaries.items() if node.up]
        return random.choice(answering or [*self._known])  # noqa: S311 - any will do
