"""Workloads that are calls: who gets which requests, how many at a time, and what a right answer looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.material import (
    ANSWERS,
    LARGE,
    PRICED,
    SCOPED,
    STREAMED,
    Json,
    Keyring,
    by_items,
    call,
    listed,
    many_tools,
    request,
)


@dataclass(frozen=True, slots=True)
class Mode:
    """Manner of sending calls.

    Attributes:
        connections: number of connections.
        rate: calls a second; None for as many as are answered.
        awake: whether idle cores are kept from halting.
    """

    connections: int
    rate: int | None = None
    awake: bool = False


MODES = {
    "c32": Mode(32),
    "c8": Mode(8),
    "c1": Mode(1),
    "low": Mode(1, rate=100),
    "awake": Mode(1, rate=100, awake=True),
}


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of call.

    Attributes:
        name: for `ONLY` and the results.
        about: for readers.
        modes: which peers are measured in which of `MODES`.
        requests: what is sent, in turn.
        status: of every answer.
        contains: a part of every answer's body.
        policy: what the sidecar enforces.
        answers: of the backend.
    """

    name: str
    about: str
    modes: Mapping[str, tuple[str, ...]]
    requests: Callable[[Keyring], list[bytes]]
    status: int = 200
    contains: bytes = b'"row-1"'
    policy: Json = field(default_factory=lambda: SCOPED)
    answers: Mapping[str, bytes] = field(default_factory=lambda: ANSWERS)

    @property
    def peers(self) -> list[str]:
        """All peers of any mode."""
        return list(dict.fromkeys(name for names in self.modes.values() for name in names))


_REQUESTS = 64
_US = ("textbook", "sidecar")
_ADDED = ("direct", "textbook", "sidecar")
_GATES = ("haproxy-jwt", "envoy-mcp-remembered", "sidecar")
_ALL = (
    *("direct", "haproxy", "haproxy-jwt", "nginx", "envoy", "envoy-mcp", "envoy-mcp-remembered"),
    *("textbook", "fastmcp", "sidecar"),
)


def _numbered(make: Callable[[int], bytes]) -> list[bytes]:
    return [make(number) for number in range(1, _REQUESTS + 1)]


def _items(count: int) -> Callable[[Keyring], list[bytes]]:
    def requests(ring: Keyring) -> list[bytes]:
        return _numbered(lambda n: call(ring.token, arguments={"ids": [f"{n}-{i}" for i in range(count)]}, number=n))

    return requests


def _calls(ring: Keyring) -> list[bytes]:
    return _numbered(lambda number: call(ring.token, number=number))


def _lists(ring: Keyring) -> list[bytes]:
    return _numbered(lambda number: request("tools/list", {}, ring.token, number))


def _refused(name: str, about: str, token: Callable[[Keyring], str | None], status: int) -> Workload:
    return Workload(
        f"refused-{name}",
        f"a call {about}",
        {"c32": _GATES},
        lambda ring: _numbered(lambda number: call(token(ring), number=number)),
        status,
        b"",
    )


WORKLOADS: dict[str, Workload] = {
    each.name: each
    for each in (
        Workload(
            "scoped",
            "a `tools/call` that needs a scope",
            {
                "c32": _ALL,
                "c1": ("textbook", "envoy-mcp-remembered", "sidecar"),
                "low": ("direct", "haproxy-jwt", "envoy-mcp-remembered", "textbook", "sidecar"),
                "awake": ("direct", "envoy-mcp-remembered", "textbook", "sidecar"),
            },
            _calls,
        ),
        Workload(
            "priced",
            "the same with a schema, a plan, two quotas and a credit",
            {"c32": _US, "c1": _US, "low": _ADDED, "awake": _ADDED},
            _calls,
            policy=PRICED,
        ),
        _refused("token", "without a token", lambda ring: None, 401),
        _refused("signature", "with a token that another key signed", lambda ring: ring.bad_token, 401),
        _refused("scope", "with a token that lacks the scope", lambda ring: ring.poor_token, 403),
        Workload("list10", "a `tools/list` of 10 tools", {"c32": _US}, _lists, 200, b'"tool_8"', many_tools(10)),
        Workload(
            "list5000",
            "a `tools/list` of 5,000 tools",
            {"c8": _US},
            _lists,
            contains=b'"tool_4998"',
            policy=many_tools(5000),
            answers={**ANSWERS, "tools_list.json": listed(5000)},
        ),
        Workload("sse", "a call answered by a stream of six events", {"c32": _US}, _calls, answers=STREAMED),
        Workload("large", "a call answered with 1 MiB", {"c8": _US}, _calls, contains=b"xxxxxxxx", answers=LARGE),
        Workload(
            "growth-policy",
            "a call under a policy of 5,000 tools and 1,000 scopes",
            {"c32": ("sidecar",)},
            _calls,
            policy=many_tools(5000, scopes=1000),
        ),
        Workload(
            "growth-items",
            "a call priced by a list of 500 items, each paid once",
            {"c32": ("sidecar",)},
            _items(500),
            policy=by_items(500),
        ),
        Workload(
            "growth-bodies",
            "a call with a body of 1 MB",
            {"c8": _US},  # one account may not hold 32 of them at one time
            lambda ring: [call(ring.token, arguments={"query": "x" * 1_000_000}, number=n) for n in range(1, 5)],
        ),
    )
}
