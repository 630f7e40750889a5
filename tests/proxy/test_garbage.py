"""A request leaves nothing to the garbage collector: a cycle costs more CPU than all gates of its call."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.proxy.support import contacts
from tests.support.rig import LEGACY, Reply, Rig
from tests.support.store import until

Ask = Callable[[Rig], Awaitable[Reply]]

ASKED: dict[str, Ask] = {
    "free": lambda rig: rig.call("list_taxonomy"),
    "priced": lambda rig: rig.call("reveal_contacts", contacts("a")),
    "of an older revision": lambda rig: rig.call("list_taxonomy", revision=LEGACY),
    "unconfirmed": lambda rig: rig.call("reveal_contacts", contacts("a", confirmed=False)),
    "without a scope": lambda rig: rig.call("reveal_contacts", contacts("a"), token=rig.issuer.mint(scopes=[])),
    "without a token": lambda rig: rig.call("list_taxonomy", token=""),
}
ROUNDS = 10


@pytest.mark.parametrize("ask", ASKED.values(), ids=list(ASKED))
async def test_a_request_leaves_no_cycle_of_objects(rig: Rig, ask: Ask):
    async def play(until_now: int) -> None:
        for _ in range(ROUNDS):
            await ask(rig)
        await until(lambda: len(rig.calls) >= until_now + ROUNDS)  # its store has answered, and it is logged

    await play(0)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await play(ROUNDS)
        gc.collect()
        found = Counter(type(each).__name__ for each in gc.garbage if type(each).__module__.startswith("sidecar."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    # A few may belong to connections and tasks of the background; each request would leave its own.
    assert [name for name, count in found.items() if count >= ROUNDS] == []
