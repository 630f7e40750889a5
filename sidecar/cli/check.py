"""`check`: validation of config, policy and store, as `serve` performs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sidecar.cli.annotations import warning_annotation
from sidecar.cli.check_live import live_document, live_findings, live_line, print_findings
from sidecar.cli.check_warnings import check_warnings, warnings_without_policy
from sidecar.cli.common import Commands, command, emit, escaped, plural, report
from sidecar.config.documents.merging import DocumentError
from sidecar.workbench.lint import Notice
from sidecar.workbench.loading import Loaded, load


def add(commands: Commands) -> None:
    """Add the command."""
    about = "validate config and policy as the server does, run the policy's tests, and examine the store"
    parser = command(commands, "check", run, about, formats=("text", "json", "github"))
    parser.add_argument(
        "--live", action="store_true", help="compare the policy with the tools that the backend lists now"
    )


def run(arguments: argparse.Namespace) -> int:
    """Load config and policy and print a summary, or their problems."""
    try:
        loaded = load(arguments.config)
    except DocumentError as error:
        notices = warnings_without_policy(arguments.config)
        _print_warnings(arguments, notices)
        report(arguments, error.problems, warnings=[asdict(notice) for notice in notices])
        return 1
    live = live_findings(loaded) if arguments.live else None
    notices = check_warnings(loaded, arguments.config)
    _print_warnings(arguments, notices)
    document = {**_facts(loaded), "warnings": [asdict(notice) for notice in notices]}
    lines = list(_lines(arguments, loaded))
    if live is not None:
        document["live"] = live_document(live)
        document["ok"] = document["live"]["ok"]
        lines.append(live_line(live))
        if arguments.format == "text":
            print_findings(live)
    emit(arguments, document, lines)
    return 0 if document["ok"] else 1


def _print_warnings(arguments: argparse.Namespace, notices: tuple[Notice, ...]) -> None:
    """Print warnings as lines on stderr, or as annotations on stdout; JSON has them in its document."""
    for notice in notices:
        if arguments.format == "text":
            print(escaped(f"warning: {notice}"), file=sys.stderr)
        elif arguments.format == "github":
            print(escaped(warning_annotation(notice)))


def _facts(loaded: Loaded) -> dict[str, Any]:
    """Return facts without secrets: of the store only its scheme, of the backend nothing."""
    settings, policy = loaded.settings, loaded.policy
    page, resource = settings.account_page, settings.resource
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
        "account_page": None
        if page is None
        else {"url": page.url(resource), "redirect_uri": page.redirect_uri(resource)},
    }


def _lines(arguments: argparse.Namespace, loaded: Loaded) -> Iterator[str]:
    facts, policy = _facts(loaded), loaded.policy
    yield f"{arguments.config}: ok"
    yield f"  resource  {facts['resource']}"
    yield f"  issuers   {', '.join(facts['issuers'])}"
    yield f"  store     {facts['store']}"
    if (page := facts["account_page"]) is not None:
        yield f"  page      {page['url']}, redirect URI {page['redirect_uri']}"
    for section in ("tools", "resources", "prompts", "methods", "plans", "scopes", "quotas", "credits"):
        yield f"  {section:<9} {', '.join(facts[section]) or 'none'}"
    yield f"  policy    revision {policy.revision}, {plural(len(policy.tests), 'test')} passed"
