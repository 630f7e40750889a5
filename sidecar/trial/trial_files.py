"""Config of a trial, and the policy scaffolded for the server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sidecar.config.settings.addresses import is_loopback
from sidecar.config.settings.settings import Settings
from sidecar.trial.issuer_server import PATH
from sidecar.workbench.scaffolding.inventory import Inventory
from sidecar.workbench.scaffolding.policy_scaffold import policy_scaffold
from sidecar.workbench.scaffolding.scaffold import CONFIG, SCHEMA
from sidecar.workbench.scaffolding.yaml_text import Noted, document

_HEAD: Final = (
    f"yaml-language-server: $schema={SCHEMA}",
    "Made by `mcp-sidecar try`: for this machine only. `mcp-sidecar init` writes the config for production.",
    "",
)


def trial_files(
    inventory: Inventory, backend: str, resource: str, issuer: str, headers: Mapping[str, str]
) -> dict[str, str]:
    """Return the text of each file by its path.

    Args:
        inventory: everything that the server lists.
        backend: URL of the server.
        resource: URL of the sidecar, on 127.0.0.1.
        issuer: URL of the trial issuer.
        headers: headers for the server, whose values are references.
    """
    behind: dict[str, Any] = {"url": backend}
    if headers:
        behind["headers"] = dict(headers)
    value = {
        "resource": Noted(resource, ("the URL that clients use",)),
        "listen": urlsplit(resource).netloc,
        "admin": Noted("127.0.0.1:0", ("metrics and health, on any free port",)),
        "backend": behind,
        "issuers": Noted([{"issuer": issuer, "id": "main"}], ("a trial issuer: any program here gets any token",)),
        "store": {"url": "embedded", "directory": "store"},
        "policies": "policies/",
        "shutdown_grace": "3s",
    }
    policy = policy_scaffold(inventory)
    return {CONFIG: document(value, _HEAD), f"policies/{policy.name}.yaml": policy.text}


def trial_ports(settings: Settings) -> tuple[int, int] | None:
    """Return the ports of sidecar and issuer in the config of an earlier trial; None for any other config."""
    resource, [issuer, *others] = urlsplit(settings.resource), settings.issuers
    parts = urlsplit(issuer.issuer)
    local = is_loopback(resource.hostname or "") and parts.hostname == "127.0.0.1"
    if others or not local or parts.scheme != "http" or parts.path != PATH or not (parts.port and resource.port):
        return None
    return resource.port, parts.port


def policy_name(settings: Settings) -> str:
    """Return a name for the server: that of its policy file, without the end."""
    folder = settings.policies
    files = sorted(folder.glob("*.yaml")) if isinstance(folder, Path) else folder
    return files[0].stem if files else "mcp"
