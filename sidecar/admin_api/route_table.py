"""Routes: each method of each path, with its permission, inputs, answer and handler."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.admin_api.api_inputs import Parameter
from sidecar.admin_api.api_problems import ApiCode, ApiProblem
from sidecar.admin_api.api_requests import ApiAnswer, ApiRequest
from sidecar.config.settings.admin_api_settings import Permission
from sidecar.ledger.journal.entries import Entry

JSON: Final = "application/json"

Handle = Callable[[ApiRequest], Awaitable[ApiAnswer]]
Events = Callable[[ApiRequest, str], AsyncGenerator[Entry | None]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Attributes:
        method: of HTTP.
        path: its template, such as `/v1/accounts/{account}`.
        operation: its name in the OpenAPI document, the log and metrics.
        permission: the one that its caller needs.
        summary: one sentence.
        answer: name of the schema of its answer.
        handle: serves it.
        parameters: its inputs outside of the body.
        body: name of the schema of its body; None without one.
        problems: codes that it has in addition to those of every route.
        events: of an answer of server-sent events, each with a document of the schema: yields the entries after the id
            that `handle` returns, and None where a second passes without one.
        slow: True when it reads records of all accounts: it has no time limit.
        versioned: True when the answer has an `ETag`.
        creates: True when the answer may have status 201.
    """

    method: str
    path: str
    operation: str
    permission: Permission
    summary: str
    answer: str
    handle: Handle
    parameters: Sequence[Parameter] = ()
    body: str | None = None
    problems: Sequence[ApiCode] = ()
    events: Events | None = None
    slow: bool = False
    versioned: bool = False
    creates: bool = False

    @property
    def changes(self) -> bool:
        """True when it changes something."""
        return self.method != "GET"

    def of(self, place: str) -> list[Parameter]:
        """Return its parameters of one place."""
        return [each for each in self.parameters if each.place == place]


class Router:
    """Routes by path.

    Args:
        routes: all of them.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._split = [(each, each.path[1:].split("/")) for each in self.routes]

    def find(self, method: str, segments: Sequence[str]) -> tuple[Route, dict[str, str]]:
        """Return the route of a request, and the texts of its parameters in the path.

        Raises:
            ApiProblem: there is none.
        """
        found = {route.method: (route, names) for route, names in self._matching(segments)}
        if not found:
            raise ApiProblem(ApiCode.PATH_UNKNOWN)
        if method not in found:
            raise ApiProblem(ApiCode.HTTP_METHOD_REFUSED, headers=(("Allow", ", ".join(sorted(found))),))
        return found[method]

    def _matching(self, segments: Sequence[str]) -> Iterable[tuple[Route, dict[str, str]]]:
        for route, parts in self._split:
            if len(parts) == len(segments):
                names = _names(parts, segments)
                if names is not None:
                    yield route, names


def _names(parts: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    """Return the parameters of a path; None when it does not match."""
    names = {}
    for part, segment in zip(parts, segments, strict=True):
        if part.startswith("{"):
            names[part[1:-1]] = segment
        elif part != segment:
            return None
    return names
