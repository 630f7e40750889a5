"""The way of one request through the gates: read `Pipeline._pass` from top to bottom.

A refusal is raised where it is found and answered in one place; anything unexpected refuses as
`internal`. What was reserved is resolved exactly once, whoever leaves first.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Hashable

from aiohttp.web import BaseRequest, StreamResponse

from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.authenticator import Authenticator
from sidecar.model import Call, CallKind, Caller, Decision, Depth, Exchange
from sidecar.observe.logs import log_fault
from sidecar.observe.record import Recorder
from sidecar.policy.decide import decide
from sidecar.protocol import headers, jsonrpc, revisions
from sidecar.protocol.answers import tool_answer
from sidecar.proxy.body import read_body
from sidecar.proxy.forwarding import Forwarder
from sidecar.proxy.gates import Gates, Grant
from sidecar.proxy.passage import Passage
from sidecar.proxy.settling import Bill
from sidecar.proxy.snapshot import Snapshot


class Pipeline:
    """What every request to the public listener goes through.

    Args:
        snapshot: the settings and policy to begin with; a reload replaces them in one assignment.
        authenticator: gate 2.
        gates: gates 5-7.
        forwarder: the backend.
        recorder: what is left behind.
    """

    def __init__(
        self, snapshot: Snapshot, authenticator: Authenticator, gates: Gates, forwarder: Forwarder, recorder: Recorder
    ) -> None:
        self.snapshot = snapshot
        self.stopping = False
        self.in_flight = 0
        self._authenticator = authenticator
        self._gates = gates
        self._forwarder = forwarder
        self._recorder = recorder
        self._claims: set[Hashable] = set()

    async def handle(self, request: BaseRequest) -> StreamResponse:
        """Serve one request; every way out of here is an answer, a refusal or a lost client."""
        passage = Passage(request, self.snapshot, Exchange(uuid.uuid4().hex, time.monotonic()))
        self.in_flight += 1
        try:
            await self._pass(passage)
        except Refusal as refusal:
            passage.refuse(refusal)
        except asyncio.CancelledError:
            passage.client.leave()
            raise
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the call is refused
            passage.refuse(_internal(error))
        finally:
            self._close(passage)
        return passage.response()

    async def _pass(self, passage: Passage) -> None:
        """The seven gates in their order, then the backend."""
        request, snapshot = passage.request, passage.snapshot
        if snapshot.doors.answer(request, passage.client):  # documents and preflights: no token
            return
        snapshot.doors.check(request, self.in_flight)
        caller = passage.caller = await self._authenticator.authenticate(request.headers.getall("Authorization", ()))
        call = passage.call = await self._read(passage)
        decision = self._decide(passage, call, caller)
        grant = await self._gates.enter(passage, call, caller, decision)
        tool = snapshot.policy.tools.get(call.tool or "")
        passage.bill = Bill(self._gates.store, grant.held, call, tool, passage.exchange)
        if tool is not None and tool.serve is not None:
            passage.answer(await self._served(...))
        else:
            await self._forwarder.forward(passage, call, decision, grant)
