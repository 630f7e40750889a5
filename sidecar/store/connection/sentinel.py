"""A primary that sentinels name: asked for at every connecting, and left as soon as they name another.

A primary that was cut off from its sentinels goes on taking writes that the new one will never know. So the
sentinels are asked again and again, not only when a connection breaks.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from sidecar.ledger.connection import CALL_TIMEOUT, CONNECT_TIMEOUT, Connection, Prepare
from sidecar.ledger.diagnosis import together
from sidecar.ledger.endpoint import Address, Endpoint
from sidecar.ledger.wire import Pushed, StoreError

ASK_EVERY: Final = 1.0
"""Seconds between two questions where the primary is."""

_ANSWER_WITHIN: Final = 0.4
_ROLES: Final = frozenset({b"sentinel"})


class Sentinels:
    """Connections to all of them, kept open because they are asked so often."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._service, self._tls = endpoint.service, endpoint.trust is not None
        self._all = {
            address: Connection(endpoint.sentinel(address), timeout=_ANSWER_WITHIN, roles=_ROLES)
            for address in endpoint.addresses
        }

    async def primary(self) -> Address:
        """Where the primary is, by the newest of the configurations that sentinels answer.

        One that was cut off from the others still names the old primary; its configuration is older.

        Raises:
            StoreError: none of them says; an `UnsentError` when none could be asked.
        """
        answers = await asyncio.gather(*map(self._ask, self._all.values()), return_exceptions=True)
        named = [answer for answer in answers if isinstance(answer, tuple)]
        if not named:
            faults = {
                "{}:{}".format(*address): answer if sentinel.up else sentinel.fault or answer
                for (address, sentinel), answer in zip(self._all.items(), answers, strict=True)
                if isinstance(answer, BaseException)
            }
            raise together(f"no sentinel names the primary of {self._service}", faults, tls=self._tls)
        # Of several with the same configuration the first counts: they may write one name in different ways.
        return max(named, key=lambda answer: answer[0])[1]

    async def close(self) -> None:
        """Disconnect from all."""
        await asyncio.gather(*(each.close() for each in self._all.values()))

    async def _ask(self, sentinel: Connection) -> tuple[int, Address]:
        sentinel.open()
        reply = await sentinel.call("SENTINEL", "MASTER", self._service)
        try:
            words = [word.decode(errors="replace") for word in reply]
            facts = dict(zip(words[::2], words[1::2], strict=False))
            return int(facts.get("config-epoch", "0")), (facts["ip"], int(facts["port"]))
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise StoreError("the sentinel answers what names no server") from error


class SentinelConnection(Connection):
    """One connection to whatever server the sentinels name.

    Args:
        endpoint: where the sentinels are.
        prepare: as for `Connection`.
        timeout: as for `Connection`.
        pushed: as for `Connection`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        prepare: Prepare | None = None,
        timeout: float = CALL_TIMEOUT,
        pushed: Pushed | None = None,
    ) -> None:
        self._sentinels = Sentinels(endpoint)
        super().__init__(
            endpoint,
            prepare=prepare,
            timeout=timeout,
            pushed=pushed,
            where=self._sentinels.primary,
            attempt=2 * CONNECT_TIMEOUT,  # the sentinels are asked, too
        )
        self._watcher: asyncio.Task[None] | None = None

    def beside(self, prepare: Prepare, pushed: Pushed) -> Connection:
        """Another connection to the same primary, not yet started, that hears what is published there."""
        return SentinelConnection(self._endpoint, prepare=prepare, pushed=pushed)

    def open(self) -> None:
        """Begin to connect, and keep connected until `close`."""
        super().open()
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch(), name="store sentinels")

    async def close(self) -> None:
        """Disconnect from the primary and the sentinels."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        await super().close()
        await self._sentinels.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(ASK_EVERY)
            if not self.up:
                continue  # whoever connects asks, too
            with contextlib.suppress(StoreError):  # nobody says where another is: this one is as good as any
                named = await self._sentinels.primary()
                if named != self.address:
                    self.leave(f"the sentinels name another primary of {self._endpoint.service}")
