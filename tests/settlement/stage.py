"""Test harness of the settlement table: sidecar processes, a store, a backend, and one call of one account a row.

@rows("rpc_error")
async def test_...(stage: Stage, ending: Ending):
    async def act(play: Play) -> None:
        play.behaves(scripted.rpc_error())
        await play.call()

    await stage.both(ending, act)      # once for each `on_unknown`; then the books are compared with the row
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sidecar.ledger.settlement_table import SettlementRow
from sidecar.model import OnUnknown
from sidecar.outcome import Event
from sidecar.protocol.headers import NAME_PARAMS
from tests.settlement.books import REPORT, Ledger, Price
from tests.settlement.script import ARGUMENTS, METHODS, Json, answered, policy
from tests.support.backend import Backend, Behaviour, Turn
from tests.support.processes import House, SidecarProcess, house, wait_for
from tests.support.rig import ACCEPT, LEGACY, MODERN, Reply, Stream
from tests.support.store import StoreServer

Act = Callable[["Play"], Awaitable[None]]

REFUSALS: Final = {
    "backend_timeout": {Event.TIMED_OUT, Event.NOT_SENT, Event.DEFERRED},
    "response_too_large": {Event.TOO_LARGE},
    "backend_unavailable": {
        *(Event.NOT_SENT, Event.HTTP_REFUSED, Event.HTTP_FAILED),
        *(Event.BACKEND_GONE, Event.UNUSABLE, Event.STREAM_ENDED, Event.CLIENT_GONE),
    },
}
"""Refusals that stand in the log for what has become of a call, and what that may be."""

_numbers: Final = itertools.count(1)


@dataclass(slots=True)
class Play:
    """One account that makes one priced call.

    Attributes:
        ending: how the call is to end.
        on_unknown: that of the tool it calls.
        sidecar: the one it talks to.
        ledger: its account in the store.
        price: of its call.
        kind: which of the policy's tools it calls.
        id: of its last request.
        marked: event ids as its client was given them, by the backend's own.
    """

    stage: Stage
    ending: SettlementRow
    on_unknown: OnUnknown
    sidecar: SidecarProcess
    ledger: Ledger
    price: Price = REPORT
    kind: str = "report"
    id: int = 0
    marked: dict[str, str] = field(default_factory=dict)

    @property
    def tool(self) -> str:
        return f"{'strict' if self.ending.charge_errors else self.kind}_{self.on_unknown.value}"

    def behaves(self, behaviour: Behaviour) -> None:
        """Behaviour of the backend for requests of this account."""
        self.stage.behaviours[self.ledger.account] = behaviour

    # --- what its client does ----------------------------------------------------------------------

    def request(self, method: str, params: Json, revision: str, session: str | None) -> tuple[Json, dict[str, str]]:
        """A message and its headers, as a client of that revision sends them."""
        self.id = next(_numbers)
        headers = self.headers(revision, session) | {"Content-Type": "application/json"}
        if revision == MODERN:
            meta = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {
                    "extensions": {"io.modelcontextprotocol/tasks": {}},
                    "elicitation": {},
                },
            }
            params = params | {"_meta": meta}
            headers["Mcp-Method"] = method
            if method in NAME_PARAMS:
                headers["Mcp-Name"] = params[NAME_PARAMS[method]]
        message: Json = {"jsonrpc": "2.0", "id": self.id, "method": method, "params": params}
        if method.startswith("notifications/"):
            del message["id"]
        return message, headers

    def headers(self, revision: str, session: str | None) -> dict[str, str]:
        made = {
            "Accept": ACCEPT,
            "Authorization": f"Bearer {self.stage.house.issuer.mint(subject=self.ledger.account)}",
            "MCP-Protocol-Version": revision,
        }
        return made if session is None else made | {"Mcp-Session-Id": session}

    async def post(
        self, method: str, params: Json | None = None, *, revision: str = MODERN, session: str | None = None
    ) -> Reply:
        message, headers = self.request(method, params or {}, revision, session)
        async with self.stage.house.http.post(self.sidecar.url, json=message, headers=headers) as answer:
            reply = Reply(answer.status, answer.headers, await answer.read())
        for id_ in reply.event_ids:
            self.note_event(id_)
        return reply

    def note_event(self, id_: str) -> None:
        """Remember the id of an event by what the backend calls it."""
        self.marked[id_.split(".", 2)[-1]] = id_

    async def call(self, *, revision: str = MODERN, session: str | None = None, **params: Any) -> Reply:
        """Make the call, and read its answer whole."""
        wanted = {"name": self.tool, "arguments": ARGUMENTS, **params}
        return await self.post("tools/call", wanted, revision=revision, session=session)

    @asynccontextmanager
    async def stream(
        self,
        method: str = "tools/call",
        params: Json | None = None,
        *,
        revision: str = MODERN,
        session: str | None = None,
    ) -> AsyncIterator[Stream]:
        """Make the call, and read its answer as it arrives; leaving disconnects."""
        message, headers = self.request(
            method, params or {"name": self.tool, "arguments": ARGUMENTS}, revision, session
        )
        async with self.stage.house.http.post(self.sidecar.url, json=message, headers=headers) as answer:
            try:
                yield Stream(answer)
            finally:
                answer.close()

    async def session(self) -> str:
        """Open a session."""
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "play", "version": "1"}}
        reply = await self.post("initialize", hello, revision=LEGACY)
        assert reply.status == 200, reply
        return reply.headers["Mcp-Session-Id"]

    async def resume(self, session: str, last: str | None, sidecar: SidecarProcess | None = None) -> Reply:
        """GET what follows an event, or a new stream, and read it to its end."""
        headers = self.headers(LEGACY, session)
        if last is not None:
            headers["Last-Event-ID"] = self.marked[last]
        async with self.stage.house.http.get((sidecar or self.sidecar).url, headers=headers) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def look(self) -> Reply:
        """Make another call, which is free: whatever is overdue in the account is resolved by it."""
        return await self.post("tools/call", {"name": "get_usage", "arguments": {}})

    async def lapse(self) -> None:
        """Let the call's lease end, and be found so."""
        self.ledger.lapse()
        assert (await self.look()).status == 200

    # --- what comes of it ----------------------------------------------------------------------------

    async def reached(self) -> None:
        """Wait until the backend has the call."""
        await wait_for(lambda: self.ledger.account in self.stage.asked)

    async def held(self) -> None:
        """Wait until the call has reserved its price; all of it then."""
        await wait_for(lambda: bool(self.ledger.books().holds))
        books = self.ledger.books()
        assert books.spent == self.price.reserved
        assert len(books.holds) == 1

    async def resolved(self) -> None:
        """Wait until the call is resolved and journaled; then the books say what the row says, and nothing else."""
        wanted = self.ending.journal[self.on_unknown]

        def over() -> bool:
            books = self.ledger.books()
            return not books.holds and len(books.entries) >= len(wanted)

        await wait_for(over)
        books = self.ledger.books()
        assert books.sums == self.price.of(self.ending, self.on_unknown).sums
        assert books.entries == wanted, books.journal
        assert not books.leases
        assert [entry.get("expired") for entry in books.journal[:1]] == [
            "1" if self.ending.expired else None for _ in wanted[:1]
        ]
        assert await self.stage.house.verified(self.ledger.account)

    async def recorded(self) -> None:
        """Wait until the sidecar has logged the call; then the line says what the row says has become of it."""
        codes: list[str] = []

        def found() -> bool:
            codes[:] = [line["code"] for line in self.sidecar.events("call") if self._is_call(line)]
            return bool(codes)

        await wait_for(found)
        event = self.ending.events[0]
        assert codes == ["ok" if event is Event.RESULT else event.value] or event in REFUSALS[codes[0]], codes

    def _is_call(self, line: Json) -> bool:
        mine: bool = line["account"] == self.ledger.account
        return mine and (line["tool"] == self.tool or line["method"] == "subscriptions/listen")


@dataclass(slots=True)
class Stage:
    """Shared parts of the plays of one module.

    Attributes:
        sidecar: the one that clients talk to.
        behaviours: what the backend does, by account; it answers with a result where none is set.
        asked: the ids that the backend has of accounts' calls.
    """

    house: House
    server: StoreServer
    sidecar: SidecarProcess
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def plays(
        self,
        ending: SettlementRow,
        *,
        sidecar: SidecarProcess | None = None,
        price: Price = REPORT,
        kind: str = "report",
    ) -> AsyncIterator[list[Play]]:
        """A play for each `on_unknown`, of accounts of their own."""
        made = []
        for on_unknown in OnUnknown:
            ledger = Ledger(self.server, f"{ending.name}-{on_unknown.value}-{next(_numbers)}")
            ledger.grant()
            made.append(Play(self, ending, on_unknown, sidecar or self.sidecar, ledger, price, kind))
        try:
            yield made
        finally:
            for play in made:
                play.ledger.close()

    async def both(self, ending: SettlementRow, act: Act, **options: Any) -> None:
        """Act once for each `on_unknown`, at the same time, and compare the books with the row."""
        async with self.plays(ending, **options) as plays:
            async with asyncio.TaskGroup() as group:
                for play in plays:
                    group.create_task(_awaited(act, play))
            for play in plays:
                await play.resolved()
                await play.recorded()

    async def behave(self, turn: Turn) -> None:
        """Answer as the play of the account says."""
        account = turn.request.header("x-mcp-account") or ""
        if turn.request.message.get("method") in ("tools/call", "subscriptions/listen"):
            self.asked[account] = turn.request.message["id"]
        await self.behaviours.get(account, answered)(turn)


async def _awaited(act: Act, play: Play) -> None:
    await act(play)


@asynccontextmanager
async def staged(
    folder: Path, server: StoreServer, *, store_url: str | None = None, ready: bool = True, **options: Any
) -> AsyncIterator[Stage]:
    """A stage with one sidecar.

    Args:
        folder: where config, policy and logs are written.
        server: the store.
        store_url: how sidecars reach it, if not directly.
        ready: wait until the sidecar is ready; else until it has its store.
        options: as `house` takes them.
    """
    backend = Backend(sessions=True)
    options = {"policy": policy(), "limits": {"response": "64KiB"}, **options}
    async with house(folder, store_url or server.url, backend=backend, **options) as built:
        sidecar = await built.start(ready=ready)
        stage = Stage(built, server, sidecar)
        for name in ("tools/call", "subscriptions/listen", "GET", "DELETE", *METHODS):
            backend.on(name, stage.behave)
        if not ready:
            await has_store(built, sidecar)
        yield stage


async def has_store(built: House, sidecar: SidecarProcess) -> None:
    """Wait until a sidecar whose backend cannot be reached has its store, and an issuer's keys."""
    async with asyncio.timeout(60):
        while True:
            checks = (await built.ready(sidecar))[1]["checks"]
            if checks["store"] == checks["keys"] == "ok":
                return
            await asyncio.sleep(0.01)
