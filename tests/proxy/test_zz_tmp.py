from tests.support import backend as scripted
from tests.support.backend import Backend
from tests.proxy.test_settling_over_http import leave
from tests.support.rig import LEGACY
import asyncio
from tests.support.store import until


async def test_two(launch):
    rig = await launch(limits={"in_flight": 1})
    rig.backend.on("search_shopify_contacts", scripted.silent())
    for n in range(3):
        call = asyncio.create_task(rig.call("search_shopify_contacts", {"limit": 3}, revision=LEGACY))
        await until(lambda: len(rig.backend.received) == n + 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: rig.sidecar.pipeline.in_flight == 0)
    print("ADMITTED", len(rig.backend.received), "still open", rig.sidecar._upstream.in_use)


async def test_three(launch):
    rig = await launch(scripted=Backend(sessions=True))
    reply = await rig.get(token=rig.issuer.mint(age=63, lifetime=60))
    print("GET", reply.status, reply.code)
