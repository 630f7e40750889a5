"""`check`: is this config what a server could run on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sidecar.cli.common import Commands, command, emit, not_enforced, plural
from sidecar.cli.store_check import store_notices
from sidecar.workbench.lint import lint
from sidecar.workbench.load import Loaded, load


def add(commands: Commands) -> None:
    """Add the command."""
    about = "read config and policy as the server does, run the policy's tests, and look at the store"
    parser = command(commands, "check", run, about)
    not_enforced(parser, "--live")


def run(arguments: argparse.Namespace) -> int:
    """Load, and say what was loaded; what is wrong is raised."""
    loaded = load(arguments.config)
    notices = (*loaded.tls.notices, *lint(loaded.policy), *store_notices(loaded.settings))
    if arguments.format == "text":
        for notice in notices:
            print(f"warning: {notice}", file=sys.stderr)
    document = {**_facts(loaded), "warnings": [asdict(notice) for notice in notices]}
    emit(arguments, document, _lines(arguments, loaded))
    return 0


def _facts(loaded: Loaded) -> dict[str, Any]:
    """Nothing that may have come from a secret: of the store only its kind, of the backend nothing."""
    settings, policy = loaded.settings, loaded.policy
    return {
        "ok": True,
        "problems": [],
        "resource": settings.resource,
        "issuers": [issuer.id for issuer in settings.issuers],
        "store": settings.store.url.partition("://")[0],
        "revision": policy.revision,
        "tools": list(policy.tools),
        "resources": list(policy.resources),
        "prompts": list(policy.prompts),
        "methods": list(policy.methods),
        "plans": list(policy.plans or ()),
        "scopes": list(policy.scope_names),
        "quotas": list(policy.quotas),
        "credits": list(policy.credits),
        "tests": len(policy.tests),
    }


def _lines(arguments: argparse.Namespace, loaded: Loaded) -> Iterator[str]:
    facts, policy = _facts(loaded), loaded.policy
    yield f"{arguments.config}: ok"
    yield f"  resource  {facts['resource']}"
    yield f"  issuers   {', '.join(facts['issuers'])}"
    yield f"  store     {facts['store']}"
    for section in ("tools", "resources", "prompts", "methods", "plans", "scopes", "quotas", "credits"):
        yield f"  {section:<9} {', '.join(facts[section]) or 'none'}"
    yield f"  policy    revision {policy.revision}, {plural(len(policy.tests), 'test')} passed"
