"""Run the soak test: `python -m tests.soak --minutes 10 [--seed N]`; it prints a table for the documentation."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import soak


def main() -> int:
    """Run for the given minutes; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Break everything round sidecars.")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--workers", type=int, default=1, help="of each sidecar")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes:g} minutes\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report = asyncio.run(soak(Path(folder), options.minutes * 60, options.seed, options.workers))
    print(report)
    return bool(report.wrong)


if __name__ == "__main__":
    sys.exit(main())
