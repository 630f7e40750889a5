"""Host names of the operator's listeners: a page in a browser must not reach them under a name of its own.

An attacker can point a name at this machine (DNS rebinding). Browsers always send the name, so literals, `localhost`
and the names of the config are served, and no others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import ip_address


def is_operator_host(values: Sequence[str], served: Collection[str]) -> bool:
    """Return False for a Host name that an attacker could have pointed here; browsers always send one.

    Args:
        values: the `Host` headers of a request.
        served: names in lower case that are served too, with or without a port.
    """
    if not values:  # HTTP/1.0, as load balancers check health
        return True
    host = values[0].lower()
    name, port = _split(host)
    if len(values) > 1 or (port and not port.isdecimal()):
        return False
    return name == "localhost" or _is_literal(name) or not {host, name}.isdisjoint(served)


def _split(host: str) -> tuple[str, str]:
    """Split a Host into name and port; an IPv6 literal keeps its brackets."""
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        return name + bracket, rest.removeprefix(":") if rest[:1] in ("", ":") else "?"
    name, _, port = host.partition(":")
    return name, port


def _is_literal(name: str) -> bool:
    """Return True for an IPv4 address, or an IPv6 address in brackets."""
    inside = name[1:-1] if name.startswith("[") and name.endswith("]") else None
    try:
        return ip_address(name if inside is None else inside).version == (4 if inside is None else 6)
    except ValueError:
        return False
