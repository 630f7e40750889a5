"""Run the soak test: `python -m tests.soak --minutes 5 [--seed N]`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import soak


def main() -> int:
    """Run for the given minutes; return 1 if the accounts do not add up."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Kill sidecars and store under load.")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report = asyncio.run(soak(Path(folder), options.minutes * 60, options.seed))
    print(report)
    return bool(report.wrong)


if __name__ == "__main__":
    sys.exit(main())
