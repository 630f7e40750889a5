"""Faults of a soak, each done once by a call; each leaves everything running again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.soak.site import HOSTS, STEADY, Site

Fault = Callable[[Site, random.Random], Awaitable[None]]

PAUSE = 1.5
"""Seconds that something is stopped, at most."""


async def kill_sidecar(site: Site, dice: random.Random) -> None:
    """kill -9 of the sidecar that is not measured, and a new one."""
    slot = 1 - STEADY
    sidecar, site.sidecars[slot] = site.sidecars[slot], None
    if sidecar is not None:
        await sidecar.kill()
        site.done["kill -9 of a sidecar"] += 1
    await site.start(slot)


async def kill_store(site: Site, dice: random.Random) -> None:
    """kill -9 of the store, which comes back with its data."""
    assert site.store is not None
    await asyncio.to_thread(site.store.kill)
    await asyncio.to_thread(site.store.start)
    site.done["kill -9 of the store"] += 1


async def stop_sidecar(site: Site, dice: random.Random) -> None:
    """SIGSTOP of a sidecar."""
    sidecar = dice.choice(site.sidecars)
    if sidecar is not None:
        sidecar.pause()
        await asyncio.sleep(dice.random() * PAUSE)
        sidecar.resume()
        site.done["SIGSTOP of a sidecar"] += 1


async def stop_store(site: Site, dice: random.Random) -> None:
    """SIGSTOP of the store."""
    assert site.store is not None
    site.store.pause()
    await asyncio.sleep(dice.random() * PAUSE)
    site.store.resume()
    site.done["SIGSTOP of the store"] += 1


async def fail_over(site: Site, dice: random.Random) -> None:
    """Promotion of the store's replica."""
    await site.fail_over()
    site.done["failovers of the store"] += 1


async def restart_backend(site: Site, dice: random.Random) -> None:
    """The backend breaks every connection, is away, and comes back."""
    for backend in site.backends:
        await backend.stop()
    await asyncio.sleep(dice.random() * PAUSE)
    for backend in site.backends:
        await backend.start()
    site.done["restarts of the backend"] += 1


async def reload(site: Site, dice: random.Random) -> None:
    """SIGHUP of both sidecars, with a changed config."""
    number = site.done["reloads of all sidecars"]
    site.rewrite(limits={"items": 500 + number % 2})
    for sidecar in site.sidecars:
        if sidecar is not None:
            sidecar.signal(signal.SIGHUP)
    site.done["reloads of all sidecars"] += 1


async def stall_log(site: Site, dice: random.Random) -> None:
    """The reader of a log stops reading."""
    reader = dice.choice(site.readers)
    if reader is not None:
        reader.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2 * PAUSE)
        reader.process.send_signal(signal.SIGCONT)
        site.done["stalls of a log's reader"] += 1


async def move_name(site: Site, dice: random.Random) -> None:
    """The backend's name moves to its other address; a little later the old one is gone."""
    assert site.names is not None
    old = HOSTS.index(site.names.server.answer)
    site.names.server.answer = HOSTS[1 - old]
    await asyncio.sleep(PAUSE)
    await site.backends[old].stop()
    await asyncio.sleep(PAUSE)
    await site.backends[old].start()
    site.done["moves of the backend's name"] += 1


async def kill_worker(site: Site, dice: random.Random) -> None:
    """kill -9 of one worker of the measured sidecar."""
    sidecar = site.sidecars[STEADY]
    if sidecar is not None and (workers := children(sidecar.pid)):
        os.kill(dice.choice(workers), signal.SIGKILL)
        site.done["kill -9 of a worker"] += 1


def children(pid: int) -> list[int]:
    """Processes of the sidecar that a process has started, such as workers."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return [child for child in found if Path(f"/proc/{child}/comm").read_text().startswith("python")]


def faults_for(site: Site) -> list[Fault]:
    """Faults of one round, which are shuffled."""
    found: list[Fault] = [kill_sidecar, stop_sidecar, restart_backend, reload, stall_log, kill_worker]
    found += [kill_sidecar, kill_store, stop_store] if site.store is not None else [fail_over]
    return found if site.names is None else [*found, move_name]
