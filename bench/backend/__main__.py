"""Serve the usual answers on a port, for another program that measures: `python -m bench.backend PORT`."""

from __future__ import annotations

import contextlib
import sys

from bench.backend import serving
from bench.material import ANSWERS

with serving(ANSWERS, int(sys.argv[1])) as backend, contextlib.suppress(KeyboardInterrupt):
    backend.process.wait()
