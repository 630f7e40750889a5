"""Open streams and the store: what was withdrawn ends, however it was withdrawn.

Commands and scripts publish a revocation, which is heard at once. Other programs may just write a record,
so the standing of every open stream is also asked for again and again. When the store cannot say, streams
go on for a while, since a store that restarts must not throw everybody out; then they end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from sidecar.errors import Refusal
from sidecar.ledger.connection import Connection, StoreError
from sidecar.ledger.keys import REVOKED_CHANNEL, AccountKeys
from sidecar.ledger.store import Store
from sidecar.ledger.streams import standing
from sidecar.model import AdmissionCode, ConsentMode
from sidecar.proxy.streams import Ending, OpenStream, OpenStreams

CHECK_EVERY: Final = 2.0
"""Seconds between two questions about every open stream."""

UNCHECKED_FOR: Final = 30.0
"""Seconds that streams go on although the store cannot be asked."""

_AT_ONCE: Final = 64  # accounts asked about at one time, so that calls do not wait behind all of them


class Revocations:
    """Ends the streams of callers who may not listen any more.

    Args:
        store: asked about them.
        streams: the open ones.
        consent: the consent mode of the policy in force.
        unchecked_for: seconds; see `UNCHECKED_FOR`.
    """

    def __init__(
        self,
        store: Store,
        streams: OpenStreams,
        consent: Callable[[], ConsentMode],
        unchecked_for: float = UNCHECKED_FOR,
    ) -> None:
        self._store = store
        self._streams = streams
        self._consent = consent
        self._unchecked_for = unchecked_for
        self._again = asyncio.Event()
        self._channel = store.subscription(REVOKED_CHANNEL, self._hear, self._again.set)

    @property
    def heard(self) -> bool:
        """Whether published revocations arrive; else they are only found by asking."""
        return self._channel.up

    async def watch(self) -> None:
        """Listen and ask until cancelled."""
        try:
            with contextlib.suppress(StoreError):
                await self._channel.start(within=0)
            await self._ask_forever(self._channel)
        finally:
            await self._channel.close()

    async def _ask_forever(self, channel: Connection) -> None:
        while True:
            # What was published while the channel was down is lost: whoever comes back asks at once.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY):
                    await self._again.wait()
            self._again.clear()
            with contextlib.suppress(StoreError):
                await channel.call("PING")  # a channel that died silently is noticed, and opened anew
            await self.check()

    async def check(self) -> None:
        """Ask about every open stream, and end those whose caller may not go on, or was not known to for too long."""
        now = asyncio.get_running_loop().time
        begun, accounts = now(), self._streams.accounts()
        for first in range(0, len(accounts), _AT_ONCE):
            several = accounts[first : first + _AT_ONCE]
            if not any(await asyncio.gather(*(self._check(*account) for account in several))):
                break  # the store cannot be asked: with a damaged record there are others that can
        for _, streams in accounts:
            for stream in streams:
                if stream.checked < begun and now() - stream.checked >= self._unchecked_for:
                    stream.end(Ending.ACCESS_UNCHECKED)

    async def _check(self, keys: AccountKeys, streams: list[OpenStream]) -> bool:
        """Ask about one account; False when the store does not say."""
        began = asyncio.get_running_loop().time()
        callers = list({(stream.caller.subject, stream.caller.client_id) for stream in streams})
        try:
            codes = await self._store.run(standing(keys, callers, self._consent()))
        except Refusal:
            return False
        refused = {who for who, code in zip(callers, codes, strict=True) if code != AdmissionCode.ADMITTED}
        for stream in streams:
            stream.checked = began
            if (stream.caller.subject, stream.caller.client_id) in refused:
                stream.end(Ending.ACCESS_WITHDRAWN)
        return True

    def _hear(self, message: bytes) -> None:
        """`ACCOUNT CONSENT` or `ACCOUNT CLIENT`, as `keys.REVOKED_CHANNEL` says; anything else is nobody's."""
        account, _, tag = message.decode("ascii", "replace").partition(" ")
        self._streams.revoked(account, tag)
