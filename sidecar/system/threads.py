"""Blocking functions in daemon threads, a limited number for each purpose.

`asyncio.to_thread` shares one pool among all purposes: a mount that does not answer would use up the threads that
other purposes need. Its threads are also joined when the process ends, so one that is stuck in the kernel keeps the
process from ending. Here each purpose has its own threads, and a stuck thread blocks its purpose only.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")
_Work = Callable[[], Callable[[], object]]  # calls a function, and returns what reports its result to the event loop

KEPT: Final = 10.0
"""Seconds for which a thread waits for another function. To start one takes a millisecond of the event loop's time, and
most purposes are periodic."""


class LimitedThreads:
    """Runner of functions in at most `size` threads; further calls wait.

    Args:
        name: prefix of the threads' names.
        size: concurrent threads. A stuck one keeps its slot until it returns, even if its caller has stopped waiting:
            retries must not fill the process with threads.
    """

    def __init__(self, name: str, size: int = 1) -> None:
        self._name = name
        self._free = size
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: deque[SimpleQueue[_Work]] = deque()  # of threads that wait for a function

    @property
    def busy(self) -> bool:
        """Return whether another function would have to wait."""
        return self._free <= 0

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function in a thread and return its result.

        Cancelling stops the wait; the function itself runs to its end.
        """
        await self._place()
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def finish(value: T | None, error: BaseException | None) -> None:
            self._give_back()
            if result.done():
                return
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result(value)  # type: ignore[arg-type]

        def work() -> Callable[[], object]:
            value, fault = None, None
            try:
                value = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
                fault = error
            return partial(loop.call_soon_threadsafe, finish, value, fault)

        try:
            self._hand_over(work)
        except BaseException:
            self._give_back()
            raise
        return await result

    def _hand_over(self, work: _Work) -> None:
        """Give a function to a thread that waits for one, or to a new one."""
        try:
            tasks = self._idle.pop()
        except IndexError:
            tasks = SimpleQueue()
            threading.Thread(target=self._work, args=(tasks,), name=self._name, daemon=True).start()
        tasks.put(work)

    def _work(self, tasks: SimpleQueue[_Work]) -> None:
        """Run functions in a thread until none has come for a while."""
        while True:
            try:
                work = tasks.get(timeout=KEPT)
            except Empty:
                with contextlib.suppress(ValueError):  # it has just been taken: a function comes
                    self._idle.remove(tasks)
                    return
                continue
            report = work()
            self._idle.append(tasks)  # before the caller goes on, who may have another function
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                report()
            del work, report  # they have the result

    async def _place(self) -> None:
        while self._free <= 0:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._wake()  # a slot was assigned but is not used
                raise
            finally:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
        self._free -= 1

    def _give_back(self) -> None:
        self._free += 1
        self._wake()

    def _wake(self) -> None:
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
                return
