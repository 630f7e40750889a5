"""Warnings about a config: its addresses, ports, store folder and policy files, as this machine has them."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path as FilePath
from typing import Final
from urllib.parse import urlsplit

from sidecar.config.documents.merging import Document, Path
from sidecar.config.settings.addresses import Address, is_loopback
from sidecar.config.settings.settings import Settings
from sidecar.workbench.lint import Notice

_PORTS: Final = {"http": 80, "https": 443}
_EVERY_HOST: Final = ("0.0.0.0", "::")  # noqa: S104 - compared, never bound for long
_IP: Final = re.compile(r"[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")
_YAML: Final = (".yml", ".yaml")


def config_warnings(settings: Settings, document: Document) -> Iterator[Notice]:
    """Yield all warnings about a config; looks at ports and folders of this machine.

    Args:
        settings: the config.
        document: its document, for the positions.
    """
    yield from _own_backend(settings, document)
    yield from _public_admin(settings, document)
    yield from _taken_ports(settings, document)
    yield from _store_directory(settings, document)


def unread_files(policies: FilePath | tuple[FilePath, ...]) -> Iterator[Notice]:
    """Yield a warning for each file of the policy folder whose name looks like a policy and is not read."""
    if isinstance(policies, tuple):
        return
    try:
        names = sorted(entry.name for entry in policies.iterdir())
    except OSError:  # the loader reports it
        return
    for name in names:
        suffix = os.path.splitext(name)[1]
        if suffix != ".yaml" and suffix.lower() in _YAML:
            says = "this file is not read: the policy is the files named *.yaml"
            yield Notice(f"{policies / name}:1", f"{says}; rename it, or move it away")


# --- addresses ---------------------------------------------------------------------------------


def _own_backend(settings: Settings, document: Document) -> Iterator[Notice]:
    url, rule = settings.backend.url, document.rule(("backend", "url"))
    parts = urlsplit(url)
    target = Address(parts.hostname or "", parts.port or _PORTS[parts.scheme])
    own = next((each.address for each in settings.listen if _reaches(target, each.address)), None)
    if url.rstrip("/") == settings.resource.rstrip("/"):
        yield Notice(rule, "the backend is the resource itself, so the sidecar would call itself without end")
    elif own is not None:
        says = f"the backend is the sidecar itself, which listens on {own}; use the address of the MCP server"
        yield Notice(rule, says)


def _reaches(target: Address, listener: Address) -> bool:
    """Return True when a connection to a target surely ends at a listener of this machine."""
    is_here = is_loopback(target.host) or target.host in _EVERY_HOST or target.host == listener.host
    return is_here and target.overlaps(listener)


def _public_admin(settings: Settings, document: Document) -> Iterator[Notice]:
    for path, address in _addresses(settings, document):
        if path[0] == "admin" and not is_loopback(address.host):
            says = f"admin listens on {address}, which other machines may reach; it has no authentication"
            yield Notice(document.rule(path), f"{says}, so allow only the monitoring to reach it")


def _taken_ports(settings: Settings, document: Document) -> Iterator[Notice]:
    """Warn of ports that cannot be bound; when all are in use, the sidecar of this config probably runs."""
    found: list[tuple[Path, Address, int]] = []
    addresses = [(path, address) for path, address in _addresses(settings, document) if address.port]
    with ExitStack() as bound:
        for path, address in addresses:
            code = _bind(address, bound)
            if code is not None:
                found.append((path, address, code))
    if len(found) == len(addresses) and all(code == errno.EADDRINUSE for _, _, code in found):
        return
    for path, address, code in found:
        yield Notice(document.rule(path), f"{path[0]} cannot bind {address} on this machine: {os.strerror(code)}")


def _bind(address: Address, bound: ExitStack) -> int | None:
    """Bind an address, without listening; return the error's number, or None when it is bound or is not known here."""
    if not (is_loopback(address.host) or _IP.fullmatch(address.host)):
        return None  # a name, which is not looked up
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        each = bound.enter_context(socket.socket(family, socket.SOCK_STREAM))
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        each.bind((address.host, address.port))
    except OSError as error:
        # Of another machine or container, the address and its name need not exist here.
        return error.errno if error.errno in (errno.EADDRINUSE, errno.EACCES) else None
    return None


def _addresses(settings: Settings, document: Document) -> Iterator[tuple[Path, Address]]:
    for key, addresses in (("listen", [each.address for each in settings.listen]), ("admin", settings.admin)):
        written = document.value.get(key)
        for place, address in enumerate(addresses):
            yield (key, place) if isinstance(written, list) else (key,), address


# --- the store ---------------------------------------------------------------------------------


def _store_directory(settings: Settings, document: Document) -> Iterator[Notice]:
    if not settings.store.embedded:
        return
    folder = settings.store.directory
    rule = document.rule(("store", "directory"))
    existing = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    if not existing.is_dir():
        yield Notice(rule, f"store.directory {folder} cannot be made: {existing} is not a folder")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield Notice(rule, f"store.directory {folder} cannot be written by this user: no permission in {existing}")
