"""Judge from a server's own INFO and CONFIG how durable acknowledged writes are: refusals and warnings. Pure.

INFO is enough for nearly all of it, because managed services do not permit CONFIG. A server is refused if it can lose
access control: consents and revocations have no expiry, so only a policy that evicts any key can drop one and reopen
access. Eviction of keys that expire is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

OLDEST_REDIS: Final = (7, 0)
"""First version with `#!lua` scripts, `EXPIRE … GT` and `SET … NX GET`; every Valkey has all three."""

PARAMETERS: Final = (
    *("appendfsync", "no-appendfsync-on-rewrite", "save"),
    *("min-replicas-to-write", "min-replicas-max-lag"),
)
"""Parameters read by CONFIG GET where it is permitted."""

_KEEPING: Final = "noeviction"
_EXPIRING_ONLY: Final = "volatile-"


class DurabilityRisk(StrEnum):
    """Risk of a warning; the label of `mcp_sidecar_store_warnings`."""

    EVICTION = "eviction"
    NO_APPEND_ONLY = "no_append_only"
    LATE_FSYNC = "late_fsync"
    PROMOTION = "promotion"
    FAILOVER = "failover"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class DurabilityWarning:
    """Warning about a setting that the operator should change, or know.

    Attributes:
        text: the risk, and the setting to change; without counts, so that it is the same at every examination.
    """

    risk: DurabilityRisk
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Server:
    """Server's description of itself.

    Attributes:
        info: its INFO.
        config: its `PARAMETERS`; None when CONFIG GET is not permitted.
        managed: whether Sentinel manages it.
    """

    info: Mapping[str, str]
    config: Mapping[str, str] | None = None
    managed: bool = False


def too_old(info: Mapping[str, str]) -> str | None:
    """Return the reason that this server cannot run the scripts; None when it can, or when its version is unknown."""
    version = info.get("redis_version", "")
    numbers = version.split(".")[:2]
    if "valkey_version" in info or not all(each.isascii() and each.isdigit() for each in numbers):
        return None
    if tuple(map(int, numbers)) >= OLDEST_REDIS:
        return None
    return f"the server is Redis {version}; the scripts need Redis 7.0 or later, or Valkey"


def unsafe(info: Mapping[str, str]) -> str | None:
    """Return the reason not to use the server, which is that it may evict keys without expiry; None otherwise."""
    policy = info.get("maxmemory_policy", _KEEPING)
    if _limited(info) and policy != _KEEPING and not policy.startswith(_EXPIRING_ONLY):
        return (
            f"the store may evict consents, revocations and balances (maxmemory-policy {policy}): "
            f"set maxmemory-policy {_KEEPING}"
        )
    return None


def warnings(server: Server) -> tuple[DurabilityWarning, ...]:
    """Return a warning for every way in which the server may lose acknowledged writes."""
    return (*_eviction(server), *_append_only(server), *_promotion(server), *_hidden_settings(server))


# --- one per risk ------------------------------------------------------------------------------


def _eviction(server: Server) -> Iterator[DurabilityWarning]:
    policy = server.info.get("maxmemory_policy", _KEEPING)
    if policy == _KEEPING:
        return
    if not _limited(server.info):
        text = f"maxmemory-policy is {policy}, which evicts keys as soon as maxmemory is set"
    else:
        text = (
            f"keys that expire may be evicted (maxmemory-policy {policy}): sessions end early, and an operation "
            "that is repeated after its outcome was evicted is applied twice"
        )
    yield DurabilityWarning(DurabilityRisk.EVICTION, f"{text}. Set maxmemory-policy {_KEEPING}")


def _append_only(server: Server) -> Iterator[DurabilityWarning]:
    enabled = server.info.get("aof_enabled")
    config = server.config or {}
    if enabled == "0":
        never = config.get("save") == ""
        lost = "everything is gone" if never else "everything since its last snapshot is undone"
        yield DurabilityWarning(
            DurabilityRisk.NO_APPEND_ONLY,
            f"the server has no append-only file: when it restarts, {lost}, including charges and "
            "revocations. Set appendonly yes and appendfsync always",
        )
    elif enabled is not None and (gap := _fsync_gap(config)):
        yield DurabilityWarning(
            DurabilityRisk.LATE_FSYNC,
            f"{gap} of acknowledged settles, grants and revocations may be undone when its machine fails. "
            "Set appendfsync always and no-appendfsync-on-rewrite no",
        )


def _fsync_gap(config: Mapping[str, str]) -> str | None:
    if config.get("appendfsync") == "everysec":
        return "appendfsync is everysec: the last second or two"
    if config.get("appendfsync") == "no":
        return "appendfsync is no: half a minute or more"
    if config.get("no-appendfsync-on-rewrite") == "yes":
        return "no-appendfsync-on-rewrite is yes: writes during a rewrite of the file"
    return None


def _promotion(server: Server) -> Iterator[DurabilityWarning]:
    info, config = server.info, server.config or {}
    managed = server.managed or info.get("cluster_enabled") == "1"
    # INFO has this line only where both parameters are set; its name is the old one in every server.
    waits = "min_slaves_good_slaves" in info or config.get("min-replicas-to-write", "0") != "0"
    if not waits and (managed or info.get("connected_slaves", "0") != "0"):
        yield DurabilityWarning(
            DurabilityRisk.PROMOTION,
            "a replica may be promoted without the last acknowledged writes, which undoes settles, grants and "
            "revocations. Set min-replicas-to-write 1, and min-replicas-max-lag to a few seconds",
        )
    elif managed:
        lag = config.get("min-replicas-max-lag")
        span = "within min-replicas-max-lag" if lag is None else f"in the last {lag} s (min-replicas-max-lag)"
        yield DurabilityWarning(
            DurabilityRisk.FAILOVER,
            f"a failover may undo settles, grants and revocations that were acknowledged {span}: replication "
            "is asynchronous. Keep min-replicas-max-lag short",
        )


def _hidden_settings(server: Server) -> Iterator[DurabilityWarning]:
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
        yield DurabilityWarning(
            DurabilityRisk.UNSEEN,
            f"the server does not show {', '.join(hidden)}: check that it has maxmemory-policy {_KEEPING}, "
            "appendonly yes, appendfsync always, and min-replicas-to-write 1 if it has replicas",
        )


def _limited(info: Mapping[str, str]) -> bool:
    return info.get("maxmemory", "0") != "0"
