"""Checks of open streams: end those of callers with revoked access, and announce lists that have changed.

Commands and scripts publish a revocation, which arrives at once. Other programs may just write a record,
so the standing of every open stream is also polled. While the store is unreachable, streams go on for
a while, since a store that restarts must not disconnect all callers; then they end. The same check reads the plan of
each account, so that a changed plan costs no trip of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from sidecar.errors import Refusal
from sidecar.model import AdmissionCode
from sidecar.proxy.relay.list_changes import VisibleLists
from sidecar.proxy.relay.streams import OpenStream, OpenStreams, StreamEnding
from sidecar.store.commands.approvals import announced
from sidecar.store.commands.keys import REVOKED_CHANNEL, AccountKeys
from sidecar.store.commands.stream_commands import standing, standings
from sidecar.store.connection.store_connection import StoreConnection, StoreError
from sidecar.store.store import Store

CHECK_EVERY: Final = 2.0
"""Seconds between two checks of every open stream."""

UNCHECKED_FOR: Final = 30.0
"""Seconds that streams go on while the store is unreachable."""

_AT_ONCE: Final = 64  # accounts checked at one time, so that calls do not wait behind all of them


class Revocations:
    """End the streams of callers that may no longer listen, and announce changed lists to the others.

    Args:
        store: keeps the consents.
        streams: the open streams.
        lists: returns the lists of the policy in force.
        unchecked_for: seconds; see `UNCHECKED_FOR`.
        answered: called with the account and the handle of each approval that is answered, and whether the client
            could not ask.
    """

    def __init__(
        self,
        store: Store,
        streams: OpenStreams,
        lists: Callable[[], VisibleLists],
        unchecked_for: float = UNCHECKED_FOR,
        answered: Callable[[str, str, bool], None] = lambda _account, _handle, _failed: None,
    ) -> None:
        self._store = store
        self._streams = streams
        self._lists = lists
        self._unchecked_for = unchecked_for
        self._answered = answered
        self._check_now = asyncio.Event()
        self._channel = store.subscription(REVOKED_CHANNEL, self._received, self._check_now.set)

    @property
    def subscription_up(self) -> bool:
        """True while published revocations arrive; else only the checks find them."""
        return self._channel.up

    def check_soon(self) -> None:
        """Check all streams now: a reload may have changed what their callers see."""
        self._check_now.set()

    async def watch(self) -> None:
        """Subscribe and check until cancelled."""
        try:
            with contextlib.suppress(StoreError):
                await self._channel.start(within=0)
            await self._check_forever(self._channel)
        finally:
            await self._channel.close()

    async def _check_forever(self, channel: StoreConnection) -> None:
        while True:
            # Revocations published while the channel was down are lost: after a reconnect, check at once.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY):
                    await self._check_now.wait()
            self._check_now.clear()
            with contextlib.suppress(StoreError):
                await channel.call("PING")  # a channel that died silently is noticed, and reopened
            await self.check()

    async def check(self) -> None:
        """Check every open stream; end it when its caller may not go on, or was not checked for too long."""
        now = asyncio.get_running_loop().time
        begun, accounts = now(), self._streams.by_account()
        for first in range(0, len(accounts), _AT_ONCE):
            several = accounts[first : first + _AT_ONCE]
            if not any(await asyncio.gather(*(self._check(*account) for account in several))):
                break  # the store is unreachable: a corrupt record fails one account only
        for _, streams in accounts:
            for stream in streams:
                if stream.checked_at < begun and now() - stream.checked_at >= self._unchecked_for:
                    stream.end(StreamEnding.ACCESS_UNCHECKED)

    async def _check(self, keys: AccountKeys, streams: list[OpenStream]) -> bool:
        """Check one account; False when the store does not answer."""
        began = asyncio.get_running_loop().time()
        callers = list({(stream.caller.subject, stream.caller.client_id) for stream in streams})
        try:
            reply = await self._store.run(standing(keys, callers, self._lists().policy.consent))
        except Refusal:
            return False
        codes, plan = standings(reply)
        refused = {each for each, code in zip(callers, codes, strict=True) if code != AdmissionCode.ADMITTED}
        for stream in streams:
            stream.checked_at = began
            if (stream.caller.subject, stream.caller.client_id) in refused:
                stream.end(StreamEnding.ACCESS_WITHDRAWN)
        self._announce(streams, plan)
        return True

    def _announce(self, streams: list[OpenStream], plan: str | None) -> None:
        """Announce changed lists on each stream; of a session's GET streams, on the newest only."""
        now, sessions = self._lists(), set()
        for stream in reversed(streams):
            lists = stream.lists
            if lists is None or not lists.update(now, plan or now.policy.default_plan):
                continue
            if lists.session in sessions:
                lists.withdraw()
                continue
            if lists.session is not None:
                sessions.add(lists.session)
            stream.announce()

    def _received(self, message: bytes) -> None:
        """End the streams that `ACCOUNT CONSENT`, `ACCOUNT CLIENT` or `ACCOUNT *` names (`keys.REVOKED_CHANNEL`).

        Answers to questions share the channel.
        """
        words = message.decode("ascii", "replace")
        answer = announced(words)
        if answer is not None:
            self._answered(*answer)
            return
        account, _, tag = words.partition(" ")
        self._streams.end_revoked(account, tag)
