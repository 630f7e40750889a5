"""The official conformance suite at a server, bare and behind the sidecar: `python -m tests.conformance`."""

from __future__ import annotations

import sys

from tests.conformance.run import main

sys.exit(main())
