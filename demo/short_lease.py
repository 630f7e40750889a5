"""`serve` with a lease that a story can wait for: one process, exactly as the command runs it otherwise."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sidecar.proxy.serve import serve


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM: `python -m sidecar.demo.short_lease --config config.yaml --margin 3`."""
    parser = argparse.ArgumentParser(prog="python -m sidecar.demo.short_lease", description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--margin", type=float, required=True, help="seconds a hold outlives its call's timeout")
    options = parser.parse_args(argv)
    return serve(options.config, options.margin)


if __name__ == "__main__":
    sys.exit(main())
