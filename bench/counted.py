"""Run a module of Python with its function calls counted between two signals.

    python -m bench.counted OUT MODULE [ARGUMENT ...]

SIGUSR1 begins to count the main thread's calls; SIGUSR2 ends it and writes OUT, a JSON object of names and counts.
"""

from __future__ import annotations

import collections
import json
import runpy
import signal
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


class CallCounter:
    """Counts calls of Python and C functions, and each time a coroutine goes on, as a profiler does."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._python: collections.Counter[CodeType] = collections.Counter()
        self._native: collections.Counter[tuple[CodeType, str]] = collections.Counter()

    def _called(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self._python[frame.f_code] += 1
        elif event == "c_call":
            self._native[frame.f_code, argument.__qualname__] += 1

    def begin(self, *_: object) -> None:
        """Begin to count; a file with the ending `.begun` says so."""
        self._out.with_suffix(".begun").touch()
        sys.setprofile(self._called)

    def end(self, *_: object) -> None:
        """End, write what was counted, and forget it."""
        sys.setprofile(None)
        counts = {_place(code): count for code, count in self._python.items()}
        for (code, name), count in self._native.items():
            counts[f"{_place(code)} -> {name}"] = count
        self._python.clear()
        self._native.clear()
        part = self._out.with_suffix(".part")
        part.write_text(json.dumps(counts))
        part.rename(self._out)  # whole, or not there


def _place(code: CodeType) -> str:
    return f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}"


if __name__ == "__main__":
    counter = CallCounter(Path(sys.argv[1]))
    signal.signal(signal.SIGUSR1, counter.begin)
    signal.signal(signal.SIGUSR2, counter.end)
    module, sys.argv = sys.argv[2], sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
