"""Scaffold of a whole folder: config.yaml and one policy file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from sidecar.config.documents.merging import DocumentError, parse
from sidecar.config.settings.settings import settings_of
from sidecar.workbench.scaffolding.inventory import Inventory
from sidecar.workbench.scaffolding.policy_scaffold import policy_scaffold
from sidecar.workbench.scaffolding.yaml_text import Noted, document

Json = dict[str, Any]

CONFIG: Final = "config.yaml"
SCHEMA: Final = "schemas/config.schema.json"
"""Path of the config's JSON Schema from its folder."""

_VARIABLE: Final = re.compile(r"[^A-Z0-9]+")


@dataclass(frozen=True, slots=True)
class BackendHeader:
    """Header for the backend, whose value stays out of the files.

    Attributes:
        name: name of the header.
        reference: text with a `${...}` for the config.
    """

    name: str
    reference: str

    @classmethod
    def from_environment(cls, name: str) -> BackendHeader:
        """Return a header with a value from an environment variable."""
        return cls(name, f"${{{cls.variable(name)}}}")

    @staticmethod
    def variable(name: str) -> str:
        """Return the environment variable for a header: `X-Api-Key` is in `BACKEND_X_API_KEY`."""
        return "BACKEND_" + _VARIABLE.sub("_", name.upper())


@dataclass(frozen=True, slots=True)
class Scaffold:
    """Scaffolded files.

    Attributes:
        files: text by path, relative to the folder.
        policy: path of the policy file.
        scopes: the scopes that the policy declares.
        findings: sentences about everything that was left out, guessed or looks wrong; escaped.
    """

    files: Mapping[str, str]
    policy: str
    scopes: tuple[str, ...]
    findings: tuple[str, ...]


def scaffold(
    inventory: Inventory, *, backend: str, resource: str, issuer: str, headers: tuple[BackendHeader, ...] = ()
) -> Scaffold:
    """Build the files for one backend; a config with an invalid URL is reported by `problems_of`.

    Args:
        inventory: everything that it lists.
        backend: its URL.
        resource: the public URL.
        issuer: the authorization server.
        headers: headers that the backend needs.
    """
    policy = policy_scaffold(inventory)
    path = f"policies/{policy.name}.yaml"
    files = {CONFIG: _config(backend, resource, issuer, headers), path: policy.text}
    return Scaffold(files, path, policy.scopes, policy.findings)


def problems_of(made: Scaffold) -> tuple[str, ...]:
    """Return the problems of the scaffolded config, such as a URL that is none."""
    try:
        settings_of(parse(CONFIG, made.files[CONFIG], lambda text: re.sub(r"\$\{[^{}]*\}", "x", text)))
    except DocumentError as error:
        return tuple(f"{problem.path}: {problem.wrong}; accepted: {problem.accepted}" for problem in error.problems)
    return ()


def _config(backend: str, resource: str, issuer: str, headers: tuple[BackendHeader, ...]) -> str:
    behind: Json = {"url": backend}
    if headers:
        behind["headers"] = {each.name: each.reference for each in headers}
    listen = "DECIDE: MCP for clients; 0.0.0.0 behind a load balancer, or {address, tls: {cert, key}}"
    value: Json = {
        "resource": Noted(resource, ("the public URL, exactly as clients use it and as tokens name it",)),
        "listen": Noted(_listen(resource), ("", listen)),
        "admin": Noted("127.0.0.1:9090", ("metrics and health; no authentication, so keep it inside",)),
        "backend": Noted(behind, ("", "the MCP server; only the sidecar should be able to reach it")),
        "issuers": Noted(
            [{"issuer": issuer, "id": "main"}], ("", "exactly as in the tokens' `iss`; never change the id")
        ),
        "store": Noted(
            {"url": "embedded", "directory": "var/store"},
            ("", "DECIDE: accounts, consents and quotas; a private server on this machine, or redis:// for several"),
        ),
        "policies": Noted("policies/", ("",)),
    }
    head = (
        f"yaml-language-server: $schema={SCHEMA}",
        "Made by `mcp-sidecar init`; lines with DECIDE are guesses. `mcp-sidecar check` reads this as the server does.",
        "",
    )
    return document(value, head)


def _listen(resource: str) -> str:
    """Return the address of the public URL when it is on this machine."""
    try:
        parts = urlsplit(resource)
        port = parts.port
    except ValueError:
        return "127.0.0.1:8080"
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
    return f"127.0.0.1:{port if local and port else 8080}"
