"""Sessions and tasks of the backend: bound to their callers, claimed against other accounts, kept while in use."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, Caller
from sidecar.outcome import Bound, Eviction
from sidecar.protocol.elicitation.elicitation import NO_MODES, Modes, read_modes, written_modes
from sidecar.store.commands import bindings
from sidecar.store.commands.bindings import BINDING_LIFE
from sidecar.store.commands.command import Command
from sidecar.store.commands.keys import caller_keys, claim_key, claim_of, consent_digest
from sidecar.store.store import Store

RENEW_EVERY: Final = bindings.CLAIM_MARGIN / 2
"""Seconds between two renewals of a claim while its binding is in use."""

IN_USE_EVERY: Final = 20.0
"""Seconds between two notes to the store about sessions and tasks with open streams or calls."""

_RENEWED_MOST: Final = 16_384
_AT_ONCE: Final = 64  # notes on their way at one time, so that calls do not wait behind all of them

Evicted = Callable[[Caller, Eviction], None]
InUse = Callable[[], Iterable[tuple[Caller, Call]]]


class Ownership:
    """Bind the sessions and tasks of the backend to their callers, and check calls against the bindings.

    Args:
        store: keeps bindings and claims.
        evicted: called with each evicted binding, and the caller of the new binding.
    """

    def __init__(self, store: Store, evicted: Evicted = lambda _, __: None) -> None:
        self._store = store
        self._evicted = evicted
        self._renewed: dict[tuple[Bound, str], float] = {}  # time of the last renewal of each claim, oldest first

    async def bind(self, caller: Caller, session: str, modes: Modes = NO_MODES) -> bool:
        """Bind a session to its caller before the client learns its id; False when it is bound to another.

        Args:
            caller: the caller that began it.
            session: its id.
            modes: modes in which its client can ask its user.

        Raises:
            Refusal: `store_unavailable`.
        """
        if not await self._claim(Bound.SESSION, caller, (session,), BINDING_LIFE):
            return False
        return await self._bind(Bound.SESSION, caller, bindings.bind_session(caller, session, written_modes(modes)))

    async def bind_tasks(self, caller: Caller, tasks: Sequence[str], lifetime: float) -> bool:
        """Bind tasks to their caller before the client learns their ids; False when one is bound to another.

        Args:
            caller: the caller that started them.
            tasks: their ids.
            lifetime: seconds that the backend keeps them.

        Raises:
            Refusal: `store_unavailable`.
        """
        if not await self._claim(Bound.TASK, caller, tasks, lifetime):
            return False
        return await self._bind(Bound.TASK, caller, bindings.bind_tasks(caller, tasks, lifetime))

    async def modes(self, caller: Caller, session: str) -> Modes:
        """Return the modes in which a session's client can ask its user.

        Raises:
            Refusal: `session_unknown`, `store_unavailable`.
        """
        found = bindings.modes_of(await self._store.run(bindings.session_modes(caller, session)))
        if found is None:
            raise Refusal(ErrorCode.SESSION_UNKNOWN)
        self.used(caller, session, ())
        return read_modes(found)

    async def own_tasks(self, caller: Caller, tasks: Sequence[str]) -> frozenset[str]:
        """Return those of these tasks that are the caller's, and extend their bindings.

        Raises:
            Refusal: `store_unavailable`.
        """
        mine = bindings.owned(await self._store.run(bindings.touch(caller, None, tasks)))
        own = frozenset(task for task, is_own in zip(tasks, mine, strict=True) if is_own)
        self.used(caller, None, own)
        return own

    async def check(self, caller: Caller, call: Call) -> None:
        """Refuse a call that needs a token only and is about the session or task of another caller.

        Raises:
            Refusal: `session_unknown`, `task_unknown`, `store_unavailable`.
        """
        if call.session is None and not call.tasks:
            return
        mine = bindings.owned(await self._store.run(bindings.touch(caller, call.session, call.tasks)))
        if call.session is not None and not mine[0]:
            raise Refusal(ErrorCode.SESSION_UNKNOWN)
        if not all(mine):
            raise Refusal(ErrorCode.TASK_UNKNOWN)
        self.used(caller, call.session, call.tasks)

    def forget_tasks(self, caller: Caller, tasks: Sequence[str]) -> None:
        """End the bindings of tasks that the caller must not use, as soon as the store is reachable.

        Their claims stay until they expire: a task that was paid for by one account is never handed to another.
        """
        self._store.outbox.deliver(bindings.end_tasks(caller, tasks))

    async def unbind(self, caller: Caller, session: str) -> None:
        """Forget a session that has ended, and its claim.

        Raises:
            Refusal: `store_unavailable`.
        """
        await self._store.run(bindings.end_session(caller, session))
        consent = consent_digest(caller.subject, caller.client_id)
        self._renewed.pop((Bound.SESSION, session), None)
        self._drop(claim_key(Bound.SESSION, session), caller, consent)

    def used(self, caller: Caller, session: str | None, tasks: Iterable[str]) -> None:
        """Renew the claims of bindings that the store has just confirmed, unless they were renewed recently."""
        if session is not None:
            self._renew(Bound.SESSION, caller, session)
        for task in tasks:
            self._renew(Bound.TASK, caller, task)

    def listening(self, caller: Caller, call: Call) -> None:
        """Note that a stream of a session, or about tasks, is open from now on."""
        if call.session is not None or call.tasks:
            self._store.outbox.deliver(_open(caller, [call]))

    async def keep_in_use(self, in_use: InUse, every: float = IN_USE_EVERY) -> None:
        """Note periodically, until cancelled, the sessions and tasks with open streams or calls.

        Args:
            in_use: returns the callers and calls that are open at the moment.
            every: seconds; see `IN_USE_EVERY`.
        """
        while True:
            await asyncio.sleep(every)
            by_caller: defaultdict[tuple[str, str], list[tuple[Caller, Call]]] = defaultdict(list)
            for caller, call in in_use():
                if call.session is not None or call.tasks:
                    key = (caller_keys(caller).digest, consent_digest(caller.subject, caller.client_id))
                    by_caller[key].append((caller, call))
            await self._note([_open(several[0][0], [call for _, call in several]) for several in by_caller.values()])

    async def _note(self, notes: Sequence[Command]) -> None:
        """Write notes once, without retries: new notes follow soon, and old ones must not pile up."""
        for first in range(0, len(notes), _AT_ONCE):
            several = (self._store.run(each) for each in notes[first : first + _AT_ONCE])
            replies = await asyncio.gather(*several, return_exceptions=True)
            for fault in replies:
                if isinstance(fault, BaseException) and not isinstance(fault, Refusal):
                    raise fault
            if all(isinstance(each, Refusal) for each in replies):
                return

    async def _claim(self, kind: Bound, caller: Caller, names: Sequence[str], lifetime: float) -> bool:
        """Claim ids, all or none."""
        claims = (bindings.claim(kind, caller, name, lifetime) for name in names)
        replies = await asyncio.gather(*map(self._store.run, claims))
        if all(map(bindings.claimed, replies)):
            for name in names:
                self._note_renewal((kind, name))
            return True
        consent = consent_digest(caller.subject, caller.client_id)
        for name, reply in zip(names, replies, strict=True):
            if bindings.claimed_now(reply):
                self._drop(claim_key(kind, name), caller, consent)
        return False

    async def _bind(self, kind: Bound, caller: Caller, command: Command) -> bool:
        reply = await self._store.run(command)
        for each in bindings.evicted(kind, reply):
            self._drop(claim_of(kind, each.digest), caller, consent_digest(each.subject, each.client_id))
            self._evicted(caller, each)
        return all(bindings.owned(reply))

    def _drop(self, key: str, caller: Caller, consent: str) -> None:
        self._store.outbox.deliver(bindings.drop_claim(key, caller_keys(caller).digest, consent))

    def _renew(self, kind: Bound, caller: Caller, name: str) -> None:
        key = (kind, name)
        renewed = self._renewed.get(key)
        if renewed is None or time.monotonic() - renewed >= RENEW_EVERY:
            self._note_renewal(key)
            self._store.outbox.deliver(bindings.claim(kind, caller, name))

    def _note_renewal(self, key: tuple[Bound, str]) -> None:
        self._renewed.pop(key, None)
        if len(self._renewed) >= _RENEWED_MOST:  # at worst a claim is renewed once more
            self._renewed.pop(next(iter(self._renewed)))
        self._renewed[key] = time.monotonic()


def _open(caller: Caller, calls: Iterable[Call]) -> Command:
    calls = list(calls)
    sessions = dict.fromkeys(call.session for call in calls if call.session is not None)
    tasks = dict.fromkeys(task for call in calls for task in call.tasks)
    return bindings.listen(caller, list(sessions), list(tasks))
