"""Tools that become tasks (SEP-2663), as an extension of the official server.

For a client that declares the extension, a call of one of these tools becomes a task, which the client polls by its
id. Other clients get the plain result or, for tools that run only as tasks, the error that names the extension.
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
    """Params of tasks/get and tasks/cancel."""

    task_id: str


class UpdateParams(TaskParams):
    """Params of tasks/update: the client's answers to the questions of a task."""

    input_responses: dict[str, Any]


@dataclass(slots=True)
class Job:
    """State of one task.

    Attributes:
        status: working, input_required, completed, failed or cancelled.
        outcome: members of the task that depend on its status, in addition to `describe`.
        asked: pending questions by key, each with the future of its answer.
        work: the asyncio task that runs the tool.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: str = "working"
    outcome: Json = field(default_factory=dict)
    created: str = field(default_factory=lambda: _now())
    updated: str = field(default_factory=lambda: _now())
    asked: dict[str, tuple[ElicitRequest, asyncio.Future[Json]]] = field(default_factory=dict)
    work: asyncio.Task[None] | None = None

    def describe(self) -> Json:
        """Return the members that every task has."""
        return {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created,
            "lastUpdatedAt": self.updated,
            "ttlMs": _LIFETIME,
            "pollIntervalMs": _POLL,
        }

    def set_status(self, status: str, **outcome: Any) -> None:
        """Change the status and the members that depend on it."""
        self.status, self.outcome, self.updated = status, outcome, _now()

    async def ask(self, *questions: ElicitRequest) -> list[Json]:
        """Ask these questions and wait until the client has answered all of them."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in questions]
        self.asked = {uuid.uuid4().hex: pair for pair in zip(questions, futures, strict=True)}
        self._update_status()
        return list(await asyncio.gather(*futures))

    def answer(self, responses: Json) -> None:
        """Pass the client's answers to their questions; answers with unknown keys are ignored."""
        for key in self.asked.keys() & responses.keys():
            _, future = self.asked.pop(key)
            future.set_result(responses[key])
        if self.status == "input_required":
            self._update_status()

    def _update_status(self) -> None:
        """Set `input_required` while a question is pending, `working` otherwise."""
        if self.asked:
            requests = {
                key: question.model_dump(by_alias=True, mode="json", exclude_none=True)
                for key, (question, _) in self.asked.items()
            }
            self.set_status("input_required", inputRequests=requests)
        else:
            self.set_status("working")


Worker = Callable[[Job, Json], Awaitable[str]]


def _now() -> str:
    return datetime.now(UTC).isoformat()


# --- the tools -----------------------------------------------------------------------------------


async def slow_compute(seconds: float, label: str = "") -> str:
    """Compute for the given number of seconds."""
    await asyncio.sleep(seconds)
    return f"computed {label}"


async def failing_job() -> str:
    """Fail with a tool error."""
    raise ToolError("The job has failed.")


async def protocol_error_job() -> str:
    """Fail with a protocol error."""
    raise MCPError(INTERNAL_ERROR, "The job failed with a protocol error.")


async def confirm_delete(filename: str) -> str:
    """Delete a file after a confirmation, which only a task can ask for."""
    return f"{filename} was not deleted: without a task, the client cannot be asked."


async def multi_input() -> str:
    """Ask two questions at once, which only a task can do."""
    return "Without a task, the client cannot be asked."


async def tool_with_task(ctx: Context) -> str | InputRequiredResult:
    """Ask for a name first, then greet it in a task."""
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
    """The tasks extension: turns calls into tasks, and serves tasks/get, tasks/update and tasks/cancel."""

    identifier = IDENTIFIER

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def tools(self) -> Sequence[ToolBinding]:
        """Return the tools as they run for clients without the extension."""
        named = ToolBinding(tool_with_task, kwargs={"name": "test_tool_with_task"})
        return [*(ToolBinding(tool) for tool in _TOOLS), named]

    def methods(self) -> Sequence[MethodBinding]:
        """Return the methods about tasks, of revision 2026-07-28 only."""
        return [
            MethodBinding("tasks/get", TaskParams, self._get, _MODERN),
            MethodBinding("tasks/update", UpdateParams, self._update, _MODERN),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, _MODERN),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Turn the call into a task if the tool has a worker and the client declares the extension."""
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
                return await call_next(ctx)  # the tool asks for the name: a task starts only when its input is complete
            arguments = dict(answer.content)
        job = Job()
        self._jobs[job.id] = job
        job.work = asyncio.create_task(_run(job, worker, arguments))
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
            job.set_status("cancelled")
        return {"resultType": "complete"}

    def _job(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Job:
        require_client_extension(ctx, IDENTIFIER)
        # SEP-2663, Routing Headers: the SDK checks this header for core methods only, not for extensions.
        if ctx.request is not None and ctx.request.headers.get("mcp-name") != params.task_id:
            raise MCPError(HEADER_MISMATCH, "Mcp-Name is not the task's id.")
        job = self._jobs.get(params.task_id)
        if job is None:
            raise MCPError(INVALID_PARAMS, "There is no such task.")
        return job


async def _run(job: Job, worker: Worker, arguments: Json) -> None:
    """Run the tool, and set the status that clients then poll."""
    try:
        text, failed = await worker(job, arguments), False
    except ToolError as error:
        text, failed = str(error), True
    except MCPError as error:
        job.set_status("failed", error={"code": error.error.code, "message": error.error.message})
        return
    result = CallToolResult(content=[TextContent(type="text", text=text)], is_error=failed)
    job.set_status("completed", result=result.model_dump(by_alias=True, mode="json", exclude_none=True))
