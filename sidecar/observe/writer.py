"""A thread that writes lines from a queue that never blocks the caller."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Final

MAX_LINES: Final = 10_000
"""The most lines waiting to be written,"""
MAX_BYTES: Final = 4 << 20
"""and the most bytes; beyond either, new lines are dropped."""
MAX_WRITE: Final = 4096
"""Bytes of one write: a pipe takes them in one piece (PIPE_BUF). Several short lines may share a write."""
PAUSE: Final = 0.05
"""Seconds from one batch to the next: waking the thread for each line costs more than the line."""

_END: Final = b"\n"


class LineWriter:
    """Writer of lines to a file descriptor, in order.

    The thread starts with the first line, so that a process may fork before it. It is a daemon, so a stuck write
    does not keep the process from ending. The first line after a pause is written at once; those that follow within
    `PAUSE` are written together.

    Args:
        fd: the file descriptor.
        dropped: called for each line that was not written completely.
    """

    def __init__(self, fd: int, dropped: Callable[[], None]) -> None:
        self._fd = fd
        self._dropped = dropped
        self._queue = bytearray()
        self._lines = 0  # in the queue
        # Reentrant: the garbage collector and signals may log within `put`.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._writing = False
        self._sleeps = False
        self._flushing = False
        self._torn = False

    def put(self, line: bytes) -> None:
        """Queue one line with its line end, or drop it when the queue is full."""
        with self._lock:
            fits = self._lines < MAX_LINES and len(self._queue) + len(line) <= MAX_BYTES
            if fits:
                self._queue += line
                self._lines += 1
                if self._sleeps:
                    self._changed.notify_all()
                elif self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                    self._thread.start()
        if not fits:
            self._dropped()

    def flush(self, within: float) -> bool:
        """Wait until every line is written or dropped, at most `within` seconds; return whether it is."""
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._lines and not self._writing, within)

    def _run(self) -> None:
        while True:
            self._await_lines()
            while data := self._next():
                written = self._write(data)
                for _ in range(data.count(_END, written)):  # lines not reached, and the one that was cut
                    self._dropped()
            with self._changed:
                self._changed.wait_for(lambda: self._flushing, PAUSE)

    def _await_lines(self) -> None:
        with self._changed:
            self._flushing = False
            while not self._lines:
                self._sleeps = True
                self._changed.wait()
            self._sleeps = False

    def _next(self) -> bytes:
        """Return the lines of the next write; none when all are written."""
        with self._changed:
            queue = self._queue
            end = queue.rfind(_END, 0, MAX_WRITE) + 1 or queue.find(_END) + 1
            data = bytes(queue[:end])
            del queue[:end]
            self._lines -= data.count(_END)
            self._writing = bool(data)
            if not data:
                self._changed.notify_all()
            return data

    def _write(self, data: bytes) -> int:
        """Write as much as possible; a line that a full disk has cut is terminated before the next one."""
        ended = int(self._torn)
        if ended:
            data = b"\n" + data
        written = 0
        while written < len(data):
            try:
                written += os.write(self._fd, data[written:])
            except BlockingIOError:  # another process has made the pipe non-blocking
                self._wait()
            except OSError:
                break
        if written:
            self._torn = ended < written < len(data)
        return max(0, written - ended)

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll():
            time.sleep(0.01)
