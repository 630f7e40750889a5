"""Check the permissions of the store's user: every command that sidecars, the CLI and scripts run.

A script that may not run one of its commands stops halfway. So the whole list is checked on every new connection,
and missing permissions are reported before anything is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import orjson

from sidecar.store.commands.keys import REVOKED_CHANNEL
from sidecar.store.commands.shipped import PERMISSIONS
from sidecar.store.connection.layout import LAYOUT_KEY
from sidecar.store.connection.resp import StoreError

_KEY: Final = "mcp:{any}:key"  # stands for every key: the user needs `~mcp:*`

# Each command with the fewest arguments that the server accepts.
KEYED: Final[tuple[tuple[str, ...], ...]] = (
    ("GET", LAYOUT_KEY),
    ("SET", LAYOUT_KEY, "1"),
    *((name, _KEY) for name in ("DEL", "EXISTS", "TYPE", "HGETALL", "HLEN", "SCARD", "XLEN", "ZCARD")),
    ("EXPIRE", _KEY, "1"),
    *((name, _KEY, "f") for name in ("HGET", "HDEL", "HEXISTS", "HMGET", "SADD", "SMISMEMBER", "ZREM")),
    ("HSET", _KEY, "f", "v"),
    ("ZADD", _KEY, "1", "m"),
    *((name, _KEY, "0", "1") for name in ("ZRANGE", "ZRANGEBYSCORE")),
    ("XADD", _KEY, "*", "f", "v"),
    ("XDEL", _KEY, "0-1"),
    ("XRANGE", _KEY, "-", "+"),
    ("XREVRANGE", _KEY, "+", "-"),
    ("XREAD", "STREAMS", _KEY, "0"),
)
"""Commands on keys."""

OTHERS: Final[tuple[tuple[str, ...], ...]] = (
    ("PING",),
    ("INFO",),
    ("TIME",),
    ("SCAN", "0"),
    ("SCRIPT", "LOAD", "return"),
    ("EVALSHA", "0", "0"),
    ("SUBSCRIBE", REVOKED_CHANNEL),
    ("PUBLISH", REVOKED_CHANNEL, ""),
)
"""Commands without a key."""

CLUSTERED: Final[tuple[tuple[str, ...], ...]] = (("CLUSTER", "SLOTS"), ("CLUSTER", "INFO"), ("ASKING",))
"""Further commands on the nodes of a cluster."""

_OPTIONAL: Final = ("CONFIG", "GET", "appendfsync")
_WITH_SUBCOMMANDS: Final = frozenset({"SCRIPT", "CLUSTER"})  # each subcommand is permitted separately


async def check_permissions(send: Callable[..., asyncio.Future[Any]], *, cluster: bool = False) -> bool:
    """Check that the user of a connection has every permission.

    Args:
        send: sends one command and returns its reply.
        cluster: whether the server is a node of a cluster.

    Returns:
        True if the user may also read the server's parameters.

    Raises:
        StoreError: permissions are missing; the message names all of them.
    """
    needed = (*KEYED, *OTHERS, *(CLUSTERED if cluster else ()))
    asked = (*needed, _OPTIONAL)
    loaded = send("SCRIPT", "LOAD", PERMISSIONS.source)
    answered = send("EVALSHA", PERMISSIONS.sha, 0, *map(orjson.dumps, asked))
    await loaded
    answer = dict(zip(asked, await answered, strict=True))
    if missing := [words for words in needed if not answer[words]]:
        raise StoreError(f"the store's user lacks permissions: {_named(missing)}; docs/store.md lists all")
    return bool(answer[_OPTIONAL])


def _named(missing: list[tuple[str, ...]]) -> str:
    if all(words in missing for words in KEYED):  # the key pattern is missing, not each command
        return ", ".join(["keys ~mcp:*", *(_command(words) for words in missing if words not in KEYED)])
    return ", ".join(_command(words) for words in missing)


def _command(words: tuple[str, ...]) -> str:
    name = "|".join(words[:2]) if words[0] in _WITH_SUBCOMMANDS else words[0]
    return f"+{name.lower()}" + (f" with channel &{REVOKED_CHANNEL}" if REVOKED_CHANNEL in words else "")
