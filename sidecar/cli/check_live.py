"""`check --live`: comparison of a policy with the tools that its backend lists now."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import Any

from sidecar.cli.common import CommandError, escaped, plural
from sidecar.mcp_client.conversation import ListingError
from sidecar.mcp_client.survey import survey_by
from sidecar.runtime.watches.tls_reload import backend_pool
from sidecar.workbench.live.live_check import LiveFinding, compare
from sidecar.workbench.loading import Loaded
from sidecar.workbench.scaffolding.inventory import Inventory


def live_findings(loaded: Loaded) -> tuple[LiveFinding, ...]:
    """Compare a valid policy with its backend.

    Raises:
        CommandError: the backend's lists cannot be read.
    """
    try:
        inventory = asyncio.run(_inventory(loaded))
    except ListingError as error:
        raise CommandError(f"{loaded.settings.backend.url}: {error}; --live needs the running backend") from None
    return compare(loaded.policy, inventory)


def live_document(findings: tuple[LiveFinding, ...]) -> dict[str, Any]:
    """Return the findings as plain values, for JSON."""
    return {"ok": not any(each.fails for each in findings), "findings": [asdict(each) for each in findings]}


def print_findings(findings: tuple[LiveFinding, ...]) -> None:
    """Print the findings on stderr, one per line."""
    for each in findings:
        print(escaped(f"live: {'' if each.fails else 'note: '}{each}"), file=sys.stderr)


def live_line(findings: tuple[LiveFinding, ...]) -> str:
    """Return the summary's line."""
    failing = sum(each.fails for each in findings)
    return (
        f"  live      {plural(failing, 'difference')} to the backend" if failing else "  live      as the backend lists"
    )


async def _inventory(loaded: Loaded) -> Inventory:
    pool = backend_pool(loaded.settings, loaded.tls)
    try:
        return await survey_by(pool)
    finally:
        pool.close()
