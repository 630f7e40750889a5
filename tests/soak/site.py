"""Everything that a soak breaks: two sidecars whose logs are read through pipes, a store, and a backend with a name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.soak.auditor import Auditor
from tests.support.backend import Backend, Behaviour
from tests.support.nameserver import NameServer, name_server
from tests.support.processes import Accounts, House, Nursery, SidecarProcess
from tests.support.running import unshared
from tests.support.store import StoreServer
from tests.support.topology import SERVICE, SentinelServers, await_state

NAME = "backend.test"
HOSTS = ("127.0.0.1", "127.0.0.2")
"""Addresses between which the backend's name moves."""
STEADY = 0
"""The sidecar that is never killed: its memory is measured."""


class LogReader:
    """A process that copies a sidecar's output from a pipe to a file, as a log collector does.

    Args:
        log: the file; the pipe is next to it.
    """

    def __init__(self, log: Path) -> None:
        self.pipe = log.with_suffix(".pipe")
        os.mkfifo(self.pipe)
        with log.open("ab") as file:
            self.process = subprocess.Popen(["cat", str(self.pipe)], stdout=file)

    def close(self) -> None:
        """End it, stopped or not."""
        self.process.kill()
        self.process.wait()


@dataclass(slots=True)
class Names:
    """The backend's name, and the processes that resolve it.

    Attributes:
        server: answers for the name.
        parent: forks sidecars that ask it.
    """

    server: NameServer
    parent: Nursery


@contextlib.asynccontextmanager
async def moving_names(folder: Path) -> AsyncIterator[Names | None]:
    """Serve the backend's name; None where this machine does not permit it."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            server, files = await stack.enter_async_context(name_server(folder))
            names = Names(server, Nursery(unshared(files)))
        except pytest.skip.Exception:
            names = None
        yield names


PATIENT = (f"sentinel down-after-milliseconds {SERVICE} 60000",)
"""Lines for sentinels on a busy machine: else a primary that is slow is replaced, and its last writes are lost."""


class SentinelStore:
    """A primary and its replica under sentinels: another server takes over without losing anything."""

    def __init__(self, servers: SentinelServers) -> None:
        self._servers = servers
        self.primary, self._replica = servers.primary, servers.replica

    def fail_over(self) -> Path:
        """Promote the replica; return the socket of the new primary."""
        follows = "the replica follows"
        await_state(lambda: self._replica.info("replication").get("master_link_status") == "up", follows)
        self._servers.sentinels[0].ask("SENTINEL", "FAILOVER", SERVICE, "COORDINATED")
        self._servers.primary, self._servers.replica = self.primary, self._replica
        self._servers.await_promotion()
        self.primary, self._replica = self._replica, self.primary
        return self.primary.path


@dataclass(slots=True)
class Site:
    """The parts, and what was done to them.

    Attributes:
        store: killed and stopped; None when `sentinels` is the store.
        sidecars: by slot; None while one is being replaced.
        backends: at the addresses of `HOSTS`; the second one only where names can move.
        done: how often each fault happened.
    """

    built: House
    ada: Accounts
    auditor: Auditor
    backends: list[Backend]
    store: StoreServer | None = None
    sentinels: SentinelStore | None = None
    names: Names | None = None
    sidecars: list[SidecarProcess | None] = field(default_factory=lambda: [None, None])
    readers: list[LogReader | None] = field(default_factory=lambda: [None, None])
    done: Counter[str] = field(default_factory=Counter)
    _old: list[LogReader] = field(default_factory=list)

    async def start(self, slot: int) -> None:
        """Start the sidecar of a slot and wait until it listens."""
        log = self.built.folder / f"log-{len(self.built.processes)}.jsonl"
        reader = LogReader(log)
        parent = None if self.names is None else self.names.parent
        made = SidecarProcess(self.built.config, log, self.built.margin, stdout=reader.pipe, parent=parent)
        self.built.processes.append(made)
        if (old := self.readers[slot]) is not None:
            self._old.append(old)
        self.readers[slot] = reader
        self.sidecars[slot] = await made.listening()

    def answer(self, behaviour: Behaviour) -> None:
        """Let the backend answer calls of both tools in this way."""
        for backend in self.backends:
            for tool in ("reveal_contacts", "enrich_shopify_domains"):
                backend.on(tool, behaviour)

    def forget_requests(self) -> None:
        """Drop what the backends remember of requests, which would fill memory."""
        for backend in self.backends:
            for kept in (backend.received, backend.own, backend.executed, backend.hang_ups):
                kept.clear()

    def rewrite(self, **changes: object) -> None:
        """Change sections of the config."""
        config = self.built.config
        config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **changes}))

    async def fail_over(self) -> None:
        """Let the replica of the store take over."""
        assert self.sentinels is not None
        path = await asyncio.to_thread(self.sentinels.fail_over)
        self.auditor.follow(path)
        old, self.ada = self.ada, Accounts(path)
        old.close()

    def close(self) -> None:
        """End what reads logs."""
        for reader in (*self.readers, *self._old):
            if reader is not None:
                reader.close()
