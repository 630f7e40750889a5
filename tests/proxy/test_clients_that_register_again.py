"""A program that was revoked and registers again under `first_use`: its new client id meets the revocation of all."""

from __future__ import annotations

from sidecar.store.commands import changes
from sidecar.store.commands.keys import account_keys
from tests.proxy.support import Launch, policy
from tests.support.rig import REFUSAL

URL = "https://example.com/mcp"


async def test_a_new_client_id_is_refused_with_the_page_that_lifts_it(bare: Launch):
    rig = await bare(policy=policy(consent="first_use", manage_url=URL))
    await rig.account()
    first, again, third = (rig.issuer.mint(client_id=name) for name in ("first", "again", "third"))
    assert (await rig.call("list_taxonomy", token=first)).code is None
    await rig.revoke(client="first")
    assert (await rig.call("list_taxonomy", token=again)).code is None, "a revocation of one client does not cover it"
    await rig.run(changes.revoke_all("main", "ada"))
    for token in (again, third, first):
        reply = await rig.call("list_taxonomy", token=token)
        assert (reply.status, reply.code) == (200, "consent_revoked")
        assert reply.json["result"]["_meta"][REFUSAL]["manage_url"] == URL
        assert URL in reply.json["result"]["content"][0]["text"]
    with rig.redis() as client:
        assert not client.exists(account_keys("main", "ada").consent("ada", "third"))
    await rig.grant(client="third")
    assert (await rig.call("list_taxonomy", token=third)).code is None
    assert (await rig.call("list_taxonomy", token=again)).code == "consent_revoked"
    await rig.run(changes.lift("main", "ada"))
    assert (await rig.call("list_taxonomy", token=rig.issuer.mint(client_id="fourth"))).code is None
    assert (await rig.call("list_taxonomy", token=first)).code == "consent_revoked"


async def test_under_required_only_a_token_from_before_it_is_challenged(launch: Launch):
    rig = await launch()
    await rig.run(changes.revoke_all("main", "ada"))
    for client in ("cli-1", "never-seen"):
        old, new = (rig.issuer.mint(client_id=client, age=age) for age in (60, -5))
        assert (await rig.call("list_taxonomy", token=old)).status == 401
        reply = await rig.call("list_taxonomy", token=new)
        assert (reply.status, reply.code) == (200, "consent_revoked")
    await rig.grant(client="never-seen")  # as an approval that is mirrored after the login
    assert (await rig.call("list_taxonomy", token=rig.issuer.mint(client_id="never-seen"))).code is None
