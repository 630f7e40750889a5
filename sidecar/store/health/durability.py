"""What a server's own words say of how well it keeps what it has acknowledged: refusals and warnings. Pure.

INFO is enough for nearly all of it, because managed services do not permit CONFIG. What must not be used
is told from what may be used by what an operator would lose: consents and revocations have no expiry, so
only a policy that evicts any key can take one away and reopen access; what expires is worth a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

OLDEST_REDIS: Final = (7, 0)
"""The first with `#!lua` scripts, `EXPIRE … GT` and `SET … NX GET`; Valkey has had all three from its first release."""

PARAMETERS: Final = (
    *("appendfsync", "no-appendfsync-on-rewrite", "save"),
    *("min-replicas-to-write", "min-replicas-max-lag"),
)
"""What is asked of CONFIG GET where that is permitted."""

_KEEPING: Final = "noeviction"
_EXPIRING_ONLY: Final = "volatile-"


class Risk(StrEnum):
    """What a warning is about; the label of `mcp_sidecar_store_warnings`."""

    EVICTION = "eviction"
    NO_APPEND_ONLY = "no_append_only"
    LATE_FSYNC = "late_fsync"
    PROMOTION = "promotion"
    FAILOVER = "failover"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the operator should change, or know.

    Attributes:
        text: what may happen, and what to set; the same at every look, so without counts.
    """

    risk: Risk
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Server:
    """One server as it describes itself.

    Attributes:
        info: its INFO.
        config: some of its parameters; None when CONFIG GET is not permitted.
        managed: whether Sentinel looks after it.
    """

    info: Mapping[str, str]
    config: Mapping[str, str] | None = None
    managed: bool = False


def too_old(info: Mapping[str, str]) -> str | None:
    """Why the scripts cannot run there; None when they can, or when it does not say what it is."""
    version = info.get("redis_version", "")
    numbers = version.split(".")[:2]
    if "valkey_version" in info or not all(each.isascii() and each.isdigit() for each in numbers):
        return None
    if tuple(map(int, numbers)) >= OLDEST_REDIS:
        return None
    return f"the server is Redis {version}; the scripts need Redis 7.0 or later, or Valkey"


def unsafe(info: Mapping[str, str]) -> str | None:
    """Why nothing may be kept there: it may evict keys that have no expiry."""
    policy = info.get("maxmemory_policy", _KEEPING)
    if _limited(info) and policy != _KEEPING and not policy.startswith(_EXPIRING_ONLY):
        return (
            f"the store may evict consents, revocations and balances (maxmemory-policy {policy}): "
            f"set maxmemory-policy {_KEEPING}"
        )
    return None


def warnings(server: Server) -> tuple[Warned, ...]:
    """All that may be lost of what such a server has acknowledged; nothing where it keeps everything."""
    return (*_eviction(server), *_append_only(server), *_promotion(server), *_unseen(server))


# --- one per risk ------------------------------------------------------------------------------


def _eviction(server: Server) -> Iterator[Warned]:
    policy = server.info.get("maxmemory_policy", _KEEPING)
    if policy == _KEEPING:
        return
    if not _limited(server.info):
        text = f"maxmemory-policy is {policy}, which evicts keys as soon as maxmemory is set"
    else:
        text = (
            f"keys that expire may be evicted (maxmemory-policy {policy}): sessions end early, and an operation "
            "that is repeated after its outcome was evicted is done twice"
        )
    yield Warned(Risk.EVICTION, f"{text}. Set maxmemory-policy {_KEEPING}")


def _append_only(server: Server) -> Iterator[Warned]:
    enabled = server.info.get("aof_enabled")
    config = server.config or {}
    if enabled == "0":
        never = config.get("save") == ""
        lost = "everything is gone" if never else "everything since its last snapshot is undone"
        yield Warned(
            Risk.NO_APPEND_ONLY,
            f"the server has no append-only file: when it restarts, {lost}, calls that were paid for and "
            "revocations with it. Set appendonly yes and appendfsync always",
        )
    elif enabled is not None and (late := _late(config)):
        yield Warned(
            Risk.LATE_FSYNC,
            f"{late} of acknowledged settles, grants and revocations may be undone when its machine fails. "
            "Set appendfsync always and no-appendfsync-on-rewrite no",
        )


def _late(config: Mapping[str, str]) -> str | None:
    if config.get("appendfsync") == "everysec":
        return "appendfsync is everysec: the last second or two"
    if config.get("appendfsync") == "no":
        return "appendfsync is no: half a minute or more"
    if config.get("no-appendfsync-on-rewrite") == "yes":
        return "no-appendfsync-on-rewrite is yes: whatever comes while the file is rewritten"
    return None


def _promotion(server: Server) -> Iterator[Warned]:
    info, config = server.info, server.config or {}
    managed = server.managed or info.get("cluster_enabled") == "1"
    # INFO has this line only where both parameters are set; its name is the old one in every server.
    waits = "min_slaves_good_slaves" in info or config.get("min-replicas-to-write", "0") != "0"
    if not waits and (managed or info.get("connected_slaves", "0") != "0"):
        yield Warned(
            Risk.PROMOTION,
            "a replica may be promoted without what was acknowledged last: settles, grants and revocations "
            "are undone then. Set min-replicas-to-write 1, and min-replicas-max-lag to a few seconds",
        )
    elif managed:
        lag = config.get("min-replicas-max-lag")
        span = "within min-replicas-max-lag" if lag is None else f"in the last {lag} s (min-replicas-max-lag)"
        yield Warned(
            Risk.FAILOVER,
            f"a failover may undo settles, grants and revocations that were acknowledged {span}: replication "
            "does not wait. Keep it short",
        )


def _unseen(server: Server) -> Iterator[Warned]:
    hidden = []
    if "maxmemory_policy" not in server.info:
        hidden.append("maxmemory-policy")
    if "aof_enabled" not in server.info:
        hidden.append("appendonly")
    if server.info.get("aof_enabled") != "0" and "appendfsync" not in (server.config or {}):
        hidden.append("appendfsync")
    if "connected_slaves" not in server.info:
        hidden.append("min-replicas-to-write")
    if hidden:
        yield Warned(
            Risk.UNSEEN,
            f"the server does not show {', '.join(hidden)}: see yourself that it has maxmemory-policy {_KEEPING}, "
            "appendonly yes, appendfsync always, and min-replicas-to-write 1 if it has replicas",
        )


def _limited(info: Mapping[str, str]) -> bool:
    return info.get("maxmemory", "0") != "0"
