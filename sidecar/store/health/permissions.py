"""What the user of the store must be permitted: everything that sidecars, commands and scripts run.

A script that meets a command it may not run stops in the middle of its work. So the whole list is asked
about on every new connection, and what is missing is named at once, before anything is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import orjson

from sidecar.ledger.keys import REVOKED_CHANNEL
from sidecar.ledger.layout import LAYOUT_KEY
from sidecar.ledger.scripts import PERMISSIONS
from sidecar.ledger.wire import StoreError

_KEY: Final = "mcp:{any}:key"  # stands for every key: the user needs `~mcp:*`

# As scripts, sidecar and commands use them, with any arguments that are enough.
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
"""Commands on no key."""

CLUSTERED: Final[tuple[tuple[str, ...], ...]] = (("CLUSTER", "SLOTS"), ("CLUSTER", "INFO"), ("ASKING",))
"""Commands on the nodes of a cluster, besides."""

_OPTIONAL: Final = ("CONFIG", "GET", "appendfsync")
_PARTS: Final = frozenset({"SCRIPT", "CLUSTER"})  # commands whose parts are permitted one by one


async def permitted(send: Callable[..., asyncio.Future[Any]], *, cluster: bool = False) -> bool:
    """See that the user of a connection may do all that is needed.

    Args:
        send: sends one command and gives its reply.
        cluster: whether the server is a node of one.

    Returns:
        Whether it may also see the server's parameters.

    Raises:
        StoreError: something is missing; names all of it.
    """
    needed = (*KEYED, *OTHERS, *(CLUSTERED if cluster else ()))
    asked = (*needed, _OPTIONAL)
    loaded = send("SCRIPT", "LOAD", PERMISSIONS.source)
    answered = send("EVALSHA", PERMISSIONS.sha, 0, *map(orjson.dumps, asked))
    await loaded
    answer = dict(zip(asked, await answered, strict=True))
    if lacking := [words for words in needed if not answer[words]]:
        raise StoreError(f"the store's user lacks permissions: {_named(lacking)}; docs/store.md lists what it needs")
    return bool(answer[_OPTIONAL])


def _named(lacking: list[tuple[str, ...]]) -> str:
    if all(words in lacking for words in KEYED):  # not each for itself
        return ", ".join(["keys ~mcp:*", *(_command(words) for words in lacking if words not in KEYED)])
    return ", ".join(_command(words) for words in lacking)


def _command(words: tuple[str, ...]) -> str:
    name = "|".join(words[:2]) if words[0] in _PARTS else words[0]
    return f"+{name.lower()}" + (f" with channel &{REVOKED_CHANNEL}" if REVOKED_CHANNEL in words else "")
