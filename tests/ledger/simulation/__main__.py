"""Run simulations by hand: `python -m tests.ledger.simulation --seeds 100000`, or `--seed 17 --trace` for one."""

from __future__ import annotations

import argparse
import sys
import time

from tests.ledger.simulation.rules import ViolationError
from tests.ledger.simulation.run import run


def main() -> int:
    """Run the given seeds; return 1 at the first violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.ledger.simulation", description="Simulate the ledger.")
    parser.add_argument("--seeds", type=int, default=3000, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--trace", action="store_true", help="print every step")
    options = parser.parse_args()
    chosen = range(options.first, options.first + options.seeds) if options.seed is None else [options.seed]
    began = time.monotonic()
    try:
        for seed in chosen:
            run(seed, trace=print if options.trace else None)
    except ViolationError as wrong:
        print(wrong, file=sys.stderr)
        return 1
    print(f"{len(chosen)} runs in {time.monotonic() - began:.1f} s: nothing is wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
