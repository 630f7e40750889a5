"""Run the demo: `python -m demo` shows every refusal, with everything that it needs on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo.story import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m demo", description="Show every refusal, on this machine alone.")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every request and answer")
    parser.add_argument("--policy", type=Path, help="another policy than the demo's own")
    options = parser.parse_args()
    sys.exit(main(options.policy, options.verbose))
