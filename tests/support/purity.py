"""Mark the tests that need no process, server or socket as `pure`, and hold them to it.

A pure test is a plain function of one example, outside the places below, whose fixtures are plain and start nothing.
`make test-fast` runs these alone. Audit events of the interpreter (PEP 578) find a test that is marked wrongly.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pytest

MARK: Final = "pure"
STARTING_FIXTURES: Final = frozenset({"_shared_store", "own_server", "_shared_cluster", "own_cluster", "server"})
PLACES: Final = tuple(
    f"tests/{place}"
    for place in (
        # These start processes or open sockets without a fixture.
        *("clients/", "conformance/", "demo/", "examples/", "faults/", "settlement/", "store/embedded/", "support/"),
        *("cli/test_check_store.py", "cli/test_main.py", "docs/test_alerts.py", "docs/test_docs.py"),
        *("observe/test_metrics.py", "observe/test_writer.py", "store/commands/test_generated.py"),
        *("system/test_threads.py", "vectors/"),
        # These need no process, but seconds a test: they measure time, or run thousands of events.
        *("fuzz/", "hostile/", "ledger/test_simulation.py", "ledger/journal/test_simulated_journal.py", "wire/"),
    )
)
EVENTS: Final = frozenset({"socket.bind", "socket.connect", "subprocess.Popen", "os.fork", "os.posix_spawn"})

_seen: set[str] | None = None
_is_listening = False


def is_pure(item: pytest.Item) -> bool:
    """Return if a test needs no process, server or socket, and no time to speak of."""
    function = getattr(item, "function", None)
    return (
        not inspect.iscoroutinefunction(inspect.unwrap(function) if function else None)
        and not item.nodeid.startswith(PLACES)
        and not getattr(function, "is_hypothesis_test", False)  # hundreds of examples
        and not item.get_closest_marker("process")
        and not any(_starts(name, fixtures) for name, fixtures in _fixtures(item).items())
    )


def _fixtures(item: pytest.Item) -> dict[str, Sequence[pytest.FixtureDef[object]]]:
    info = getattr(item, "_fixtureinfo", None)  # pytest has no public way from an item to its fixtures
    return info.name2fixturedefs if info else {}


def _starts(name: str, fixtures: Sequence[pytest.FixtureDef[object]]) -> bool:
    return name in STARTING_FIXTURES or any(
        inspect.iscoroutinefunction(fixture.func) or inspect.isasyncgenfunction(fixture.func) for fixture in fixtures
    )


@contextmanager
def guard(item: pytest.Item) -> Iterator[None]:
    """Fail a pure test that starts a process or opens a socket."""
    global _seen, _is_listening
    if not item.get_closest_marker(MARK):
        yield
        return
    if not _is_listening:
        sys.addaudithook(_listen)  # one for the whole run: Python cannot remove it
        _is_listening = True
    found: set[str] = set()
    _seen = found
    try:
        yield
    finally:
        _seen = None
    if found:
        pytest.fail(f"not a pure test ({', '.join(sorted(found))}): add the marker `process`", pytrace=False)


def _listen(event: str, _: object) -> None:
    if _seen is not None and event in EVENTS:
        _seen.add(event)
