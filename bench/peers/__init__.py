"""Measured programs: the sidecar, the textbook proxy, other proxies, and the backend without any.

Each module has one program: `start` runs it in front of a backend, on a core of its own, until the block ends.
"""

from __future__ import annotations

from bench.peers import envoy, fastmcp, haproxy, nginx, ours, textbook
from bench.peers.peer import DIRECT, Peer

PEERS: dict[str, Peer] = {
    each.name: each
    for each in (
        DIRECT,
        haproxy.PLAIN,
        haproxy.JWT,
        nginx.PLAIN,
        envoy.PLAIN,
        envoy.POLICED,
        envoy.REMEMBERED,
        textbook.TEXTBOOK,
        fastmcp.FASTMCP,
        ours.OURS,
    )
}
"""All peers by name, in the order in which they are printed."""
