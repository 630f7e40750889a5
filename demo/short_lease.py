"""The `serve` command with a lease short enough for the story: one process, otherwise as the command runs it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sidecar.runtime.process import serve


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM: `python -m demo.short_lease --config config.yaml --margin 3`."""
    parser = argparse.ArgumentParser(prog="python -m demo.short_lease", description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--margin", type=float, required=True, help="seconds that a hold outlives its call's timeout")
    options = parser.parse_args(argv)
    return serve(options.config, options.margin)


if __name__ == "__main__":
    sys.exit(main())
