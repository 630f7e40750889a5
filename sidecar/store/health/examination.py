"""Examine a server on every new connection, before anything is written; `durability` judges the replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from sidecar.store.connection.resp import RejectedError, StoreError
from sidecar.store.health import durability
from sidecar.store.health.durability import PARAMETERS, DurabilityWarning, Server
from sidecar.store.health.permissions import check_permissions

Send = Callable[..., asyncio.Future[Any]]


async def check_capabilities(send: Send) -> tuple[Mapping[str, str], bool]:
    """Check that the scripts can run; CLI commands check only this, because revoking must work on an unfit store.

    Args:
        send: sends one command and returns its reply.

    Returns:
        The server's INFO, and whether CONFIG GET is permitted.

    Raises:
        StoreError: the server is too old, or its user lacks permissions.
    """
    reply = await send("INFO")
    if not isinstance(reply, bytes):
        raise StoreError("the server does not speak the protocol")
    info = _fields(reply)
    if old := durability.too_old(info):
        raise StoreError(old)
    return info, await check_permissions(send, cluster=info.get("cluster_enabled") == "1")


async def examine(send: Send, *, managed: bool = False) -> tuple[DurabilityWarning, ...]:
    """Check that the server may be used, and return warnings for the operator.

    Args:
        send: sends one command and returns its reply.
        managed: whether Sentinel manages it.

    Raises:
        StoreError: the server must not be used; the message gives the reason.
    """
    info, shows_config = await check_capabilities(send)
    if unsafe := durability.unsafe(info):
        raise StoreError(unsafe)
    return durability.warnings(Server(info, await _parameters(send) if shows_config else None, managed))


async def _parameters(send: Send) -> Mapping[str, str] | None:
    try:
        flat = await send("CONFIG", "GET", *PARAMETERS)
    except RejectedError:  # managed services remove the command
        return None
    words = [each.decode(errors="replace") for each in flat]
    return dict(zip(words[::2], words[1::2], strict=False))


def _fields(reply: bytes) -> Mapping[str, str]:
    lines = reply.decode(errors="replace").splitlines()
    return dict(line.partition(":")[::2] for line in lines if ":" in line)
