"""The sidecar, with a real Valkey of its own (`appendfsync everysec`) on the same core."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.machine import PROXY_CORE, free_port, pin_running, started
from bench.material import RESOURCE
from bench.peers.peer import Peer, Running, Site
from bench.programs import MissingError, library_of_debian
from sidecar import __version__
from sidecar.store.commands import changes
from sidecar.store.commands.command import Command
from sidecar.store.embedded.embedded_server import server_binary
from tests.support.loaded import load_scripts
from tests.support.store import StoreServer

ISSUER_ID, ACCOUNT, CLIENT = "main", "ada", "cli-1"
LIMITS = {"in_flight_per_account": 1000, "streams_per_account": 1000}
_CREDITS = 10**9


def account(name: str, *, priced: bool) -> list[Command]:
    """Return what gives an account all that a call may need."""
    made = [changes.grant(ISSUER_ID, name, name, CLIENT)]
    if priced:
        made.append(changes.set_account(ISSUER_ID, name, plan="business", create=True))
        made.append(changes.change_credits(ISSUER_ID, name, "set", "contact", _CREDITS, operation=name))
    return made


def prepare(store: Any, commands: list[Command]) -> None:
    """Run commands in the store, all at once."""
    load_scripts(store)
    pipeline = store.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command.words())
    pipeline.execute()


def _config(site: Site, port: int, store: StoreServer) -> dict[str, Any]:
    (site.folder / "policy.yaml").write_text(yaml.safe_dump(site.policy))
    (site.folder / "jwks.json").write_text(json.dumps(site.keyring.jwks))
    return {
        "resource": RESOURCE,
        "listen": f"127.0.0.1:{port}",
        "admin": f"127.0.0.1:{free_port()}",
        "backend": {"url": site.backend_url},
        "issuers": [{"issuer": site.keyring.url, "jwks": {"file": str(site.folder / "jwks.json")}}],
        "store": {"url": store.url},
        "policies": [str(site.folder / "policy.yaml")],
        "limits": LIMITS,
        **site.settings,
    }


def _allocator() -> dict[str, str]:
    """Return the environment in which the store uses jemalloc, as Valkey does on Linux by default.

    The server of the wheel is built with the C library's, whose cost would be a fifth of the store's; where Debian's
    jemalloc cannot be had, it is measured so.
    """
    try:
        return {"LD_PRELOAD": str(library_of_debian("libjemalloc.so.2", ("libjemalloc2",)))}
    except MissingError:
        return {}


@contextlib.contextmanager
def sidecar(site: Site, before: Sequence[str] = ()) -> Iterator[Running]:
    """Run the sidecar.

    Args:
        site: where it is put.
        before: a module that runs it, and that module's arguments.
    """
    allocator = _allocator()
    server = Path(server_binary()), {**os.environ, **allocator}
    store = StoreServer(options=("--appendonly", "yes", "--appendfsync", "everysec"), binary=server).start()
    try:
        with store.client() as client:
            prepare(client, account(ACCOUNT, priced="credits" in site.policy))
        pin_running(store.pid, PROXY_CORE)
        version = f"mcp-policy-sidecar {__version__} with a Valkey on {'jemalloc' if allocator else 'the C library'}"
        port = free_port()
        config = site.folder / "config.yaml"
        config.write_text(yaml.safe_dump(_config(site, port, store)))
        command: list[str | Path] = [sys.executable, "-m", *before, "sidecar", "serve", "--config", config]
        with started(command, port, core=PROXY_CORE) as one:
            yield Running(port, (one.pid,), (store.pid,), str(store.path), version)
    finally:
        store.close()


_CHECKS = "token, strict JSON-RPC, tool, scope, consent in the store"
OURS = Peer("sidecar", "**this sidecar**", "this sidecar", _CHECKS, sidecar)
