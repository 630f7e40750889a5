"""Forks sidecars on request; see `processes.Nursery`. Reads one request per line, answers one line each.

start  CONFIG  LOG  MARGIN    a pid
status PID                    the exit status, or `running`
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from sidecar.runtime.process import serve


def run(config: str, log: str, margin: str) -> NoReturn:
    """Be a sidecar, with nothing of this process but what it has imported."""
    status = 1
    try:
        for descriptor, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_APPEND)):
            os.dup2(os.open(path, flags), descriptor)
        os.dup2(1, 2)
        status = serve(Path(config), float(margin))
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    running: set[int] = set()
    for line in sys.stdin:
        verb, *words = line.rstrip("\n").split("\t")
        if verb == "start":
            pid = os.fork() or run(*words)
            running.add(pid)
            print(pid, flush=True)
        else:
            pid, status = os.waitpid(int(words[0]), os.WNOHANG)
            running.discard(pid)
            print(os.waitstatus_to_exitcode(status) if pid else "running", flush=True)
    for pid in running:  # the process that asked for them has ended
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
