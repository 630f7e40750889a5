"""Run the soak test: `python -m tests.soak --minutes 10 [--seed N] [--write docs/soak.md]`; it prints a table."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import described
from bench.report.page import replaced
from tests.soak.soak import soak


def main() -> int:
    """Run for the given minutes; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Break everything round sidecars.")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--workers", type=int, default=1, help="of each sidecar")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into a page, if nothing was wrong")
    options = parser.parse_args()
    if options.write is not None and "<!-- bench: soak -->" not in _page(options.write):
        parser.error(f"--write {options.write}: not a page with a place for the table; accepted: docs/soak.md")
    where = described()
    print(f"seed {options.seed}, {options.minutes:g} minutes\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report = asyncio.run(soak(Path(folder), options.minutes * 60, options.seed, options.workers))
    print(report)
    if options.write is not None and not report.wrong:
        text = f"{_about(options, where)}\n\n{report}"
        options.write.write_text(replaced(options.write.read_text("utf-8"), {"soak": text}), "utf-8")
    return bool(report.wrong)


def _page(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""


def _about(options: argparse.Namespace, where: dict[str, object]) -> str:
    """Say when, where and how the run was made."""
    workers = f"{options.workers} worker{'s' if options.workers > 1 else ''} in each sidecar"
    return (
        f"Made {datetime.now(UTC):%Y-%m-%d} on {where['cores']} cores of {where['cpu']}, Python {where['python']},"
        f" Linux {str(where['kernel']).partition('-')[0]}: {options.minutes:g} minutes, {workers}, seed {options.seed};"
        f" load before {where['load_before']}."
    )


if __name__ == "__main__":
    sys.exit(main())
