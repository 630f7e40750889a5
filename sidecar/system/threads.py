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
from typing import Any, TypeVar

T = TypeVar("T")


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

        def work() -> None:
            value, fault = None, None
            try:
                value = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
                fault = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(finish, value, fault)

        try:
            threading.Thread(target=work, name=self._name, daemon=True).start()
        except BaseException:
            self._give_back()
            raise
        return await result

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
