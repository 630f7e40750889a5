"""What a new connection asks of the server before anything is kept there; `durability` judges the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from sidecar.ledger import durability
from sidecar.ledger.durability import PARAMETERS, Server, Warned
from sidecar.ledger.permissions import permitted
from sidecar.ledger.wire import RejectedError, StoreError

Send = Callable[..., asyncio.Future[Any]]


async def capable(send: Send) -> tuple[Mapping[str, str], bool]:
    """See that the scripts can run: for commands, which must be able to revoke on a store that is otherwise unfit.

    Args:
        send: sends one command and gives its reply.

    Returns:
        The server's INFO, and whether its parameters can be seen.

    Raises:
        StoreError: the server is too old, or its user lacks permissions.
    """
    reply = await send("INFO")
    if not isinstance(reply, bytes):
        raise StoreError("the server does not speak the protocol")
    info = _fields(reply)
    if old := durability.too_old(info):
        raise StoreError(old)
    return info, await permitted(send, cluster=info.get("cluster_enabled") == "1")


async def examine(send: Send, *, managed: bool = False) -> tuple[Warned, ...]:
    """See that the server can be relied on, and what of it the operator should know.

    Args:
        send: sends one command and gives its reply.
        managed: whether Sentinel looks after it.

    Raises:
        StoreError: it must not be used; the message says why.
    """
    info, open_ = await capable(send)
    if unsafe := durability.unsafe(info):
        raise StoreError(unsafe)
    return durability.warnings(Server(info, await _parameters(send) if open_ else None, managed))


async def _parameters(send: Send) -> Mapping[str, str] | None:
    try:
        flat = await send("CONFIG", "GET", *PARAMETERS)
    except RejectedError:  # managed services take the command away altogether
        return None
    words = [each.decode(errors="replace") for each in flat]
    return dict(zip(words[::2], words[1::2], strict=False))


def _fields(reply: bytes) -> Mapping[str, str]:
    lines = reply.decode(errors="replace").splitlines()
    return dict(line.partition(":")[::2] for line in lines if ":" in line)
