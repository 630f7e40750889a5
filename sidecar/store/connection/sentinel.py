"""Connection to the primary that sentinels name, and reconnection as soon as they name another.

A primary that is partitioned from its sentinels still accepts writes that the new primary will never have. So the
sentinels are asked at intervals, not only when a connection breaks.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from sidecar.store.connection.diagnosis import combine
from sidecar.store.connection.resp import OnPush, StoreError
from sidecar.store.connection.store_connection import CALL_TIMEOUT, CONNECT_TIMEOUT, Prepare, StoreConnection
from sidecar.store.connection.store_url import Address, StoreLocation

ASK_INTERVAL: Final = 1.0
"""Seconds between two queries for the primary's address."""

_ANSWER_TIMEOUT: Final = 0.4
_ROLES: Final = frozenset({b"sentinel"})


class Sentinels:
    """Connections to all sentinels, kept open because they are asked often."""

    def __init__(self, endpoint: StoreLocation) -> None:
        self._service, self._tls = endpoint.service, endpoint.store_tls is not None
        self._all = {
            address: StoreConnection(endpoint.sentinel(address), timeout=_ANSWER_TIMEOUT, roles=_ROLES)
            for address in endpoint.addresses
        }

    async def primary(self) -> Address:
        """Return the primary's address in the newest configuration of all sentinels.

        A sentinel that is partitioned from the others still names the old primary; its configuration is older.

        Raises:
            StoreError: no sentinel names a primary; an `UnsentError` if none was reachable.
        """
        answers = await asyncio.gather(*map(self._ask, self._all.values()), return_exceptions=True)
        named = [answer for answer in answers if isinstance(answer, tuple)]
        if not named:
            faults = {
                "{}:{}".format(*address): answer if sentinel.up else sentinel.fault or answer
                for (address, sentinel), answer in zip(self._all.items(), answers, strict=True)
                if isinstance(answer, BaseException)
            }
            raise combine(f"no sentinel names the primary of {self._service}", faults, tls=self._tls)
        # Of several with the same configuration use the first: they may write one name in different ways.
        return max(named, key=lambda answer: answer[0])[1]

    async def close(self) -> None:
        """Disconnect from all sentinels."""
        await asyncio.gather(*(each.close() for each in self._all.values()))

    async def _ask(self, sentinel: StoreConnection) -> tuple[int, Address]:
        sentinel.open()
        reply = await sentinel.call("SENTINEL", "MASTER", self._service)
        try:
            words = [word.decode(errors="replace") for word in reply]
            facts = dict(zip(words[::2], words[1::2], strict=False))
            return int(facts.get("config-epoch", "0")), (facts["ip"], int(facts["port"]))
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise StoreError("the sentinel's reply names no server") from error


class SentinelConnection(StoreConnection):
    """Connection to the primary that the sentinels name.

    Args:
        endpoint: addresses of the sentinels.
        prepare: as for `StoreConnection`.
        timeout: as for `StoreConnection`.
        on_push: as for `StoreConnection`.
    """

    def __init__(
        self,
        endpoint: StoreLocation,
        *,
        prepare: Prepare | None = None,
        timeout: float = CALL_TIMEOUT,
        on_push: OnPush | None = None,
    ) -> None:
        self._sentinels = Sentinels(endpoint)
        super().__init__(
            endpoint,
            prepare=prepare,
            timeout=timeout,
            on_push=on_push,
            locate=self._sentinels.primary,
            attempt_timeout=2 * CONNECT_TIMEOUT,  # it includes asking the sentinels
        )
        self._watcher: asyncio.Task[None] | None = None

    def subscriber(self, prepare: Prepare, on_push: OnPush) -> StoreConnection:
        """Return another connection to the same primary, not yet started, for a subscription."""
        return SentinelConnection(self._endpoint, prepare=prepare, on_push=on_push)

    def open(self) -> None:
        """Start to connect, and stay connected until `close`."""
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
            await asyncio.sleep(ASK_INTERVAL)
            if not self.up:
                continue  # connecting asks the sentinels itself
            with contextlib.suppress(StoreError):  # no sentinel names a primary: keep this one
                named = await self._sentinels.primary()
                if named != self.address:
                    self.reconnect(f"the sentinels name another primary of {self._endpoint.service}")
