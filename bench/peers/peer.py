"""Common form of all peers, and the backend itself, which is measured without one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.material import SCOPED, Json, Keyring


@dataclass(frozen=True, slots=True)
class Site:
    """Place of a peer.

    Attributes:
        keyring: the key of all tokens.
        backend: the backend's port.
        folder: for its configuration and data.
        policy: what the sidecar enforces; others enforce what they can, see `Peer.checks`.
        settings: further settings of the sidecar.
    """

    keyring: Keyring
    backend: int
    folder: Path
    policy: Json = field(default_factory=lambda: SCOPED)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def backend_url(self) -> str:
        """The MCP endpoint of the backend."""
        return f"http://127.0.0.1:{self.backend}/mcp"


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that runs.

    Attributes:
        port: where it takes calls.
        pids: its processes; their children count, too.
        store: its store's processes.
        store_path: the socket of the store.
        version: of the program.
    """

    port: int
    pids: tuple[int, ...] = ()
    store: tuple[int, ...] = ()
    store_path: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """One program in one configuration.

    Attributes:
        name: for `ONLY` and the results.
        title: for tables.
        short: for the picture.
        checks: what it checks per call.
        start: run it until the block ends; MissingError if it cannot be had.
        slow: whether it needs a hundred times as long, so that it gets fewer calls and rounds.
    """

    name: str
    title: str
    short: str
    checks: str
    start: Callable[[Site], AbstractContextManager[Running]]
    slow: bool = False


@contextlib.contextmanager
def _direct(site: Site) -> Iterator[Running]:
    yield Running(site.backend)


DIRECT = Peer("direct", "the backend itself", "no proxy", "nothing", _direct)
