"""Tools that become tasks (SEP-2663), as an extension of the official server.

A client that has declared the extension gets a task where the tool takes long, and asks for it by
its id; another one gets the plain result, or the error that says what it would have to declare.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding, ToolBinding
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ElicitRequest,
    ElicitResult,
    InputRequiredResult,
    RequestParams,
    TextContent,
)

from tests.conformance.server.rounds import ask_name, form

IDENTIFIER: Final = "io.modelcontextprotocol/tasks"
_MODERN: Final = frozenset({"2026-07-28"})
_LIFETIME: Final = 600_000  # milliseconds
_POLL: Final = 100  # milliseconds

Json = dict[str, Any]


class TaskParams(RequestParams):
    """Which task is meant."""

    task_id: str


class UpdateParams(TaskParams):
    """What the client answers to a task's questions."""

    input_responses: dict[str, Any]


@dataclass(slots=True)
class Job:
    """A task: what is known of it, what it waits for, and who works on it.

    Attributes:
        status: working, input_required, completed, failed or cancelled.
        outcome: the members that a task of this status has beside the common ones.
        asked: its open questions, and where their answers go.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: str = "working"
    outcome: Json = field(default_factory=dict)
    created: str = field(default_factory=lambda: _now())
    updated: str = field(default_factory=lambda: _now())
    asked: dict[str, tuple[ElicitRequest, asyncio.Future[Json]]] = field(default_factory=dict)
    work: asyncio.Task[None] | None = None

    def describe(self) -> Json:
        """The members that every task has."""
        return {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created,
            "lastUpdatedAt": self.updated,
            "ttlMs": _LIFETIME,
            "pollIntervalMs": _POLL,
        }

    def turn(self, status: str, **outcome: Any) -> None:
        """The task has reached another status."""
        self.status, self.outcome, self.updated = status, outcome, _now()

    async def ask(self, *questions: ElicitRequest) -> list[Json]:
        """Wait for the client's answers to all of these."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in questions]
        self.asked = {uuid.uuid4().hex: pair for pair in zip(questions, futures, strict=True)}
        self._waiting()
        return list(await asyncio.gather(*futures))

    def answer(self, responses: Json) -> None:
        """Take the client's answers; those to nothing that was asked are ignored."""
        for key in self.asked.keys() & responses.keys():
            _, future = self.asked.pop(key)
            future.set_result(responses[key])
        if self.status == "input_required":
            self._waiting()

    def _waiting(self) -> None:
        if self.asked:
            requests = {
                key: question.model_dump(by_alias=True, mode="json", exclude_none=True)
                for key, (question, _) in self.asked.items()
            }
            self.turn("input_required", inputRequests=requests)
        else:
            self.turn("working")


Worker = Callable[[Job, Json], Awaitable[str]]


def _now() -> str:
    return datetime.now(UTC).isoformat()


# --- the tools -----------------------------------------------------------------------------------


async def slow_compute(seconds: float, label: str = "") -> str:
    """Takes as long as it is told to."""
    await asyncio.sleep(seconds)
    return f"computed {label}"


async def failing_job() -> str:
    """Fails, as tools do."""
    raise ToolError("The job has failed.")


async def protocol_error_job() -> str:
    """Breaks, as servers do."""
    raise MCPError(INTERNAL_ERROR, "The job has broken.")


async def confirm_delete(filename: str) -> str:
    """Deletes nothing without having asked, and it cannot ask without a task."""
    return f"{filename} was not deleted: nobody could be asked."


async def multi_input() -> str:
    """Asks two questions at once, and it cannot ask without a task."""
    return "Nobody could be asked."


async def tool_with_task(ctx: Context) -> str | InputRequiredResult:
    """Asks for a name first, and works with it in a task."""
    return await ask_name(ctx)


async def _compute(job: Job, arguments: Json) -> str:
    return await slow_compute(float(arguments["seconds"]), str(arguments.get("label", "")))


async def _fail(job: Job, arguments: Json) -> str:
    return await failing_job()


async def _break(job: Job, arguments: Json) -> str:
    return await protocol_error_job()


async def _confirm(job: Job, arguments: Json) -> str:
    [answer] = await job.ask(form(f"Delete {arguments['filename']}?", "confirm", "boolean"))
    return f"{answer.get('action')}: {arguments['filename']}"


async def _two_questions(job: Job, arguments: Json) -> str:
    first, second = await job.ask(form("First name?", "name"), form("Second name?", "name"))
    return f"{first.get('content')} {second.get('content')}"


async def _greet(job: Job, arguments: Json) -> str:
    return f"Hello, {arguments['name']}!"


_TOOLS: Final = (slow_compute, failing_job, protocol_error_job, confirm_delete, multi_input)
_WORKERS: Final[dict[str, Worker]] = {
    "slow_compute": _compute,
    "failing_job": _fail,
    "protocol_error_job": _break,
    "confirm_delete": _confirm,
    "multi_input": _two_questions,
    "test_tool_with_task": _greet,
}
_ONLY_AS_TASKS: Final = frozenset({"failing_job", "test_tool_with_task"})


# --- the extension -------------------------------------------------------------------------------


class Tasks(Extension):
    """The extension: it decides which call becomes a task, and serves the methods about tasks."""

    identifier = IDENTIFIER

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def tools(self) -> Sequence[ToolBinding]:
        """The tools as they are for clients without the extension."""
        named = ToolBinding(tool_with_task, kwargs={"name": "test_tool_with_task"})
        return [*(ToolBinding(tool) for tool in _TOOLS), named]

    def methods(self) -> Sequence[MethodBinding]:
        """tasks/get, tasks/update and tasks/cancel."""
        return [
            MethodBinding("tasks/get", TaskParams, self._get, _MODERN),
            MethodBinding("tasks/update", UpdateParams, self._update, _MODERN),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, _MODERN),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Make a task of the call, where the tool takes long and the client knows what a task is."""
        worker = _WORKERS.get(params.name)
        if worker is None:
            return await call_next(ctx)
        if params.name in _ONLY_AS_TASKS:
            require_client_extension(ctx, IDENTIFIER)
        declared = ctx.session.client_capabilities
        if declared is None or IDENTIFIER not in (declared.extensions or {}):
            return await call_next(ctx)
        arguments = dict(params.arguments or {})
        if params.name == "test_tool_with_task":
            answer = (params.input_responses or {}).get("user_name")
            if not isinstance(answer, ElicitResult) or not answer.content:
                return await call_next(ctx)  # asks: a task begins only when nothing is missing
            arguments = dict(answer.content)
        job = Job()
        self._jobs[job.id] = job
        job.work = asyncio.create_task(_work(job, worker, arguments))
        return {"resultType": "task", **job.describe()}

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        job = self._job(ctx, params)
        return {"resultType": "complete", **job.describe(), **job.outcome}

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: UpdateParams) -> HandlerResult:
        self._job(ctx, params).answer(params.input_responses)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        job = self._job(ctx, params)
        if job.status in ("working", "input_required") and job.work is not None:
            job.work.cancel()
            job.turn("cancelled")
        return {"resultType": "complete"}

    def _job(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Job:
        require_client_extension(ctx, IDENTIFIER)
        # SEP-2663, Routing Headers; the SDK checks this header for the methods of the core only.
        if ctx.request is not None and ctx.request.headers.get("mcp-name") != params.task_id:
            raise MCPError(HEADER_MISMATCH, "Mcp-Name is not the task's id.")
        job = self._jobs.get(params.task_id)
        if job is None:
            raise MCPError(INVALID_PARAMS, "There is no such task.")
        return job


async def _work(job: Job, worker: Worker, arguments: Json) -> None:
    """Work to the end, which is told to whoever asks for the task."""
    try:
        text, failed = await worker(job, arguments), False
    except ToolError as error:
        text, failed = str(error), True
    except MCPError as error:
        job.turn("failed", error={"code": error.error.code, "message": error.error.message})
        return
    result = CallToolResult(content=[TextContent(type="text", text=text)], is_error=failed)
    job.turn("completed", result=result.model_dump(by_alias=True, mode="json", exclude_none=True))
