"""Server of the admin API: each request is checked, served by its route, and answered as JSON.

The order of the checks is that of a default deny: Host, Origin, caller, then path, method, permission and inputs. So a
caller without a token learns nothing of the paths.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

import orjson

from sidecar.admin_api.api_inputs import read_document, read_parameters
from sidecar.admin_api.api_log import ApiLog
from sidecar.admin_api.api_problems import PROBLEM_TYPE, ApiCode, ApiProblem, problem_of_body, problem_of_failure
from sidecar.admin_api.api_requests import ApiAnswer, ApiRequest
from sidecar.admin_api.api_schemas import SCHEMAS
from sidecar.admin_api.event_streams import EventStreams
from sidecar.admin_api.openapi import openapi_document
from sidecar.admin_api.programs import Program, Programs
from sidecar.admin_api.request_target import split_target
from sidecar.admin_api.route_table import JSON, Route, Router
from sidecar.admin_api.routes import ROUTES
from sidecar.config.settings.admin_api_settings import AdminApiSettings
from sidecar.config.settings.settings import Settings
from sidecar.errors import Refusal
from sidecar.management.failures import ManagementError, store_failures
from sidecar.management.operator_store import OperatorStore
from sidecar.policy.rules import Policy
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.body import read_body
from sidecar.proxy.listener.http_answers import Answer, Header
from sidecar.proxy.listener.operator_hosts import is_operator_host
from sidecar.proxy.memory import MemoryBudget
from sidecar.system.random_ids import random_id

MAX_BODY: Final = 64 * 1024
"""Bytes of a body."""
BODY_WITHIN: Final = 10.0
"""Seconds that a whole body may take."""
ANSWER_WITHIN: Final = 10.0
"""Seconds of an operation on one account; those on all accounts have none."""

_MEMORY: Final = 64 * 1024 * 1024  # bytes of all bodies, as they are decoded
_OPENAPI: Final = "openapi.json"
_ALWAYS: Final[tuple[Header, ...]] = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))

InForce = Callable[[], tuple[Settings, Policy]]


class AdminApi:
    """Admin API of one process.

    Args:
        in_force: returns config and policy in force.
        store: the store.
        log: of changes and refusals.
    """

    def __init__(self, in_force: InForce, store: OperatorStore, log: ApiLog) -> None:
        self._in_force = in_force
        self._store = store
        self._log = log
        self._router = Router(ROUTES)
        self._memory = MemoryBudget()
        self._programs: tuple[AdminApiSettings, Programs] | None = None
        self._changes: set[asyncio.Task[ApiAnswer]] = set()
        self._streams = EventStreams(self._is_current)

    async def handle(self, request: ClientRequest) -> Answer:
        """Serve one request."""
        request_id = random_id()
        try:
            return await self._serve(request, request_id)
        except ApiProblem as problem:
            return self._refused(problem, request_id)
        except Exception as error:  # noqa: BLE001 - a fault ends in an answer, and the log has its place
            self._log.failed(request_id, error)
            return self._refused(ApiProblem(ApiCode.INTERNAL), request_id)

    def error(self, status: int, error: BaseException | None) -> Answer:
        """Answer a request that is not HTTP, or that has failed here."""
        request_id = random_id()
        if 400 <= status < 500:
            return self._refused(ApiProblem(ApiCode.REQUEST_MALFORMED), request_id)
        if error is not None:
            self._log.failed(request_id, error)
        return self._refused(ApiProblem(ApiCode.INTERNAL), request_id)

    def end_streams(self) -> None:
        """End all streams, and begin no more."""
        self._streams.close()

    async def close(self, grace: float) -> None:
        """Wait `grace` seconds for changes in progress; later ones, of all accounts, have to be repeated."""
        if self._changes:
            _, late = await asyncio.wait(self._changes, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # --- steps -----------------------------------------------------------------------------------

    async def _serve(self, request: ClientRequest, request_id: str) -> Answer:
        settings, policy = self._in_force()
        program = self._caller(request, settings)
        segments, query = split_target(request.raw_path)
        if segments == [_OPENAPI] and request.method == "GET":
            return _answer(200, self._document, request_id)
        route, path = self._router.find(request.method, segments)
        if route.permission not in program.may:
            self._log.refused(ApiCode.PERMISSION_MISSING, program.name)
            raise ApiProblem(ApiCode.PERMISSION_MISSING, f"this needs the permission {route.permission!r}")
        asked = ApiRequest(
            program, _parameters(route, path, query, request), None, self._store, settings, policy, request
        )
        self._log.counted(route.operation)
        if route.body is not None:
            asked = asked.with_body(await self._body(request, SCHEMAS[route.body]))
        if route.changes:
            answer = await self._changed(route, asked, request_id)
        else:
            answer = await _read(route, asked)
        if route.events is not None:
            return await self._streams.serve(route.events(asked, answer.document), asked, request_id)
        headers = () if answer.version is None else (("ETag", f'"{answer.version}"'),)
        return _answer(201 if answer.created else 200, orjson.dumps(answer.document), request_id, headers)

    def _caller(self, request: ClientRequest, settings: Settings) -> Program:
        """Return the caller; a page in a browser is none."""
        if not is_operator_host(request.headers.getall("Host", ()), settings.admin_hosts):
            raise self._unwanted(ApiCode.HOST_REFUSED)
        if "Origin" in request.headers:
            raise self._unwanted(ApiCode.ORIGIN_REFUSED)
        try:
            certificate = request.connection.peer_certificate
            return self._known(settings).authenticate(request.headers.getall("Authorization", ()), certificate)
        except ApiProblem as problem:
            raise self._unwanted(problem.code, problem) from None

    def _unwanted(self, code: ApiCode, problem: ApiProblem | None = None) -> ApiProblem:
        self._log.refused(code)
        return problem or ApiProblem(code)

    def _known(self, settings: Settings) -> Programs:
        """Return the programs of a config, which are made once for each."""
        section = settings.admin_api
        if section is None:
            raise ApiProblem(ApiCode.TOKEN_INVALID)  # a reload cannot remove the section: fail closed
        if self._programs is None or self._programs[0] is not section:
            self._programs = section, Programs(section)
        return self._programs[1]

    def _is_current(self, program: Program) -> bool:
        return self._known(self._in_force()[0]).still_has(program)

    async def _body(self, request: ClientRequest, schema: Mapping[str, Any]) -> Any:
        media_type, _, parameters = request.headers.get("Content-Type", "").partition(";")
        encoded = request.headers.get("Content-Encoding", "identity").lower() != "identity"
        charset = parameters.strip().lower().replace('"', "")
        if media_type.strip().lower() != JSON or encoded or charset not in ("", "charset=utf-8"):
            raise ApiProblem(ApiCode.MEDIA_TYPE_UNSUPPORTED)
        lease = self._memory.lease("", _MEMORY)
        try:
            body = await read_body(request, MAX_BODY, lease, BODY_WITHIN)
            return read_document(body, schema)
        except Refusal as refusal:
            raise problem_of_body(refusal) from None
        finally:
            lease.close()

    async def _changed(self, route: Route, asked: ApiRequest, request_id: str) -> ApiAnswer:
        """Run a change to its end, also when its program disconnects: the log has every change that was made."""

        async def change() -> ApiAnswer:
            answer = await _run(route, asked)
            self._log.changed(request_id, asked.program.name, route.operation, answer.change)
            return answer

        task = asyncio.create_task(change())
        self._changes.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[ApiAnswer]) -> None:
        self._changes.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have disconnected: no warning of a fault that no one has seen

    def _refused(self, problem: ApiProblem, request_id: str) -> Answer:
        self._log.answered(problem)
        headers = (*_ALWAYS, *problem.headers, ("Content-Type", PROBLEM_TYPE))
        made = Answer(problem.code.status, headers, problem.body(request_id), request_id)
        made.closing = problem.code.status in (400, 401, 403, 408, 413)  # the rest of a body is not read
        return made

    @cached_property
    def _document(self) -> bytes:
        return orjson.dumps(openapi_document(ROUTES))


async def _read(route: Route, asked: ApiRequest) -> ApiAnswer:
    try:
        async with asyncio.timeout(None if route.slow else ANSWER_WITHIN):
            return await _run(route, asked)
    except TimeoutError:
        raise ApiProblem(ApiCode.STORE_UNAVAILABLE, log="it has not answered in time") from None


async def _run(route: Route, asked: ApiRequest) -> ApiAnswer:
    try:
        with store_failures():
            return await route.handle(asked)
    except ManagementError as failure:
        raise problem_of_failure(failure) from None


def _parameters(
    route: Route, path: Mapping[str, str], query: Mapping[str, str], request: ClientRequest
) -> dict[str, Any]:
    headers = {}
    for parameter in route.of("header"):
        values = request.headers.getall(parameter.name, ())
        if len(values) > 1:
            raise ApiProblem(ApiCode.PARAMETER_INVALID, f"{parameter.name} is given twice")
        if values:
            headers[parameter.name] = values[0]
    return {
        **read_parameters(route.of("path"), path),
        **read_parameters(route.of("query"), query),
        **read_parameters(route.of("header"), headers),
    }


def _answer(status: int, body: bytes, request_id: str, headers: tuple[Header, ...] = ()) -> Answer:
    return Answer(status, (*_ALWAYS, *headers, ("Content-Type", JSON)), body, request_id)
