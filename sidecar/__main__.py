"""`python -m sidecar` is the command `mcp-sidecar`."""

import sys

from sidecar.cli import main

sys.exit(main())
