"""A backend that runs tools as tasks, in both eras, and tells everybody everything.

It has no authentication, like the servers that a sidecar stands in front of: a client that names a task gets
it, its list has everybody's tasks, and what it has to say it says on every stream that is open.

    async with Backend(sessions=True) as backend:
        desk = Desk(backend)
        desk.ids.append("t1")                  # the id of the next task, else a random one
        ...
        desk.finish("t1")                      # now its tool really runs
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.support import backend as scripted
from tests.support.backend import Backend, Json, Turn

RELATED = "io.modelcontextprotocol/related-task"
EXTENSION = "io.modelcontextprotocol/tasks"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
_AT = "2026-11-23T10:30:00Z"


@dataclass(slots=True)
class Task:
    """One task: the call that started it, and what has become of it."""

    id: str
    call: Turn
    ttl: Any = 60_000
    status: str = "working"
    outcome: Json = field(default_factory=dict)  # `result` or `error`
    input: list[Json] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def shown(self, *, stateless: bool) -> Json:
        """Return its description: in 2026-07-28 with its outcome."""
        times = {"createdAt": _AT, "lastUpdatedAt": _AT}
        described = {"taskId": self.id, "status": self.status, **times, "ttlMs" if stateless else "ttl": self.ttl}
        if stateless and self.status == "input_required":
            described["inputRequests"] = {"name": {"method": "elicitation/create", "params": {"message": "Your name?"}}}
        return {**described, **self.outcome} if stateless else described


class Desk:
    """The tasks of one backend.

    Attributes:
        tasks: all of them, by id, in the order they were started.
        ids: ids of the next tasks.
        ttl: how long the next tasks are kept, in milliseconds; None for ever.
        stream: whether a task is handed out on an event stream.
        before: awaited before a task is handed out.
        listening: open answers to `subscriptions/listen`.
        page: tasks on one page of the list.
    """

    def __init__(self, backend: Backend) -> None:
        self.tasks: dict[str, Task] = {}
        self.ids: deque[str] = deque()
        self.ttl: Any = 60_000
        self.stream = False
        self.before: Any = None
        self.listening: list[Turn] = []
        self.page = 2
        self._backend = backend
        for method, behave in {
            "initialize": self._greet,
            "server/discover": self._greet,
            "tools/list": self._tools,
            "tools/call": self._call,
            "tasks/get": self._get,
            "tasks/result": self._result,
            "tasks/update": self._update,
            "tasks/cancel": self._cancel,
            "tasks/list": self._list,
            "subscriptions/listen": self._listen,
        }.items():
            backend.on(method, behave)

    # --- what a test does --------------------------------------------------------------------------

    def finish(self, name: str, *, error: Json | None = None) -> None:
        """Let the tool of a task run, or fail."""
        task = self.tasks[name]
        params = task.call.request.message["params"]
        if error is None:
            result = scripted.run(task.call, params["name"], params.get("arguments") or {})
            task.outcome, task.status = {"result": result}, "completed"
        else:
            task.outcome, task.status = {"error": error}, "failed"
        task.ended.set()

    async def tell(self, message: Json) -> None:
        """Send a notification on every open stream, also of other clients."""
        for turn in (*self._backend.streams, *self.listening):
            await turn.event(message)

    async def tell_status(self, name: str) -> None:
        """Say on every stream how a task stands, each in its own era."""
        for turn, stateless in [(t, False) for t in self._backend.streams] + [(t, True) for t in self.listening]:
            method = "notifications/tasks" if stateless else "notifications/tasks/status"
            params = self.tasks[name].shown(stateless=stateless)
            await turn.event({"jsonrpc": "2.0", "method": method, "params": params})

    # --- what it does ------------------------------------------------------------------------------

    async def _greet(self, turn: Turn) -> None:
        params = turn.request.message["params"]
        capabilities: Json = {"tools": {}, "extensions": {EXTENSION: {}, "com.example/x": {}}}
        capabilities["tasks"] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
        result = {"capabilities": capabilities, "serverInfo": {"name": "tasks", "version": "1"}}
        if turn.request.message["method"] == "server/discover":
            return await turn.result({"supportedVersions": [scripted.STATELESS], **result})
        session = [("Mcp-Session-Id", f"session-{uuid.uuid4().hex}")] if self._backend.sessions else []
        return await turn.result({"protocolVersion": params["protocolVersion"], **result}, session)

    async def _tools(self, turn: Turn) -> None:
        await turn.result(
            {
                "tools": [
                    {"name": name, "inputSchema": {"type": "object"}, "execution": {"taskSupport": "optional"}}
                    for name in scripted.TOOLS
                ]
            }
        )

    async def _call(self, turn: Turn) -> None:
        params, stateless = turn.request.message["params"], turn.request.stateless
        offered = params.get("_meta", {}).get(CAPABILITIES, {}).get("extensions", {})
        if EXTENSION not in offered if stateless else "task" not in params:
            return await turn.result(scripted.run(turn, params["name"], params.get("arguments") or {}))
        task = Task(self.ids.popleft() if self.ids else str(uuid.uuid4()), turn, self.ttl)
        self.tasks[task.id] = task
        shown = task.shown(stateless=stateless)
        result = {"resultType": "task", **shown} if stateless else {"task": shown}
        if not self.stream:
            if self.before is not None:
                await self.before()
            return await turn.result(result)
        await turn.open_stream()
        await turn.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})
        if self.before is not None:
            await self.before()
        await turn.event(turn.response({"result": result}))
        return await turn.end_stream()

    async def _about(self, turn: Turn) -> Task | None:
        task = self.tasks.get(turn.request.message["params"]["taskId"])
        if task is None:
            await turn.json(turn.response({"error": {"code": -32602, "message": "Task not found"}}))
        return task

    async def _get(self, turn: Turn) -> None:
        task = await self._about(turn)
        if task is not None:
            await turn.result(task.shown(stateless=turn.request.stateless))

    async def _result(self, turn: Turn) -> None:
        task = await self._about(turn)
        if task is None:
            return
        await task.ended.wait()
        if "error" in task.outcome:
            await turn.json(turn.response(task.outcome))
        else:
            await turn.result({**task.outcome["result"], "_meta": {RELATED: {"taskId": task.id}}})

    async def _update(self, turn: Turn) -> None:
        task = await self._about(turn)
        if task is not None:
            task.input.append(turn.request.message["params"]["inputResponses"])
            task.status = "working"
            await turn.result({})

    async def _cancel(self, turn: Turn) -> None:
        task = await self._about(turn)
        if task is not None:
            task.status = "cancelled"
            await turn.result({} if turn.request.stateless else task.shown(stateless=False))

    async def _list(self, turn: Turn) -> None:
        start = int(turn.request.message.get("params", {}).get("cursor", "0"))
        every = [task.shown(stateless=False) for task in self.tasks.values()]
        more = {"nextCursor": str(start + self.page)} if start + self.page < len(every) else {}
        await turn.result({"tasks": every[start : start + self.page], **more})

    async def _listen(self, turn: Turn) -> None:
        message = turn.request.message
        await turn.open_stream()
        await turn.event(
            {
                "jsonrpc": "2.0",
                "method": "notifications/subscriptions/acknowledged",
                "params": {"notifications": message["params"]["notifications"]},
            }
        )
        self.listening.append(turn)
        await turn.hang_up()
        self.listening.remove(turn)
