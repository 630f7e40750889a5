from tests.support.rig import Rig
import pytest
@pytest.mark.parametrize("n", range(20))
async def test_x(rig: Rig, n):
    r = await rig.call("list_taxonomy")
    assert r.status == 200, r
    print(rig.log, await rig.books())
