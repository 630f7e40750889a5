"""Scope challenges over several logins of one client: each login that can help is asked for, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.support import Launch
from tests.support.rig import Reply, Rig

NARROW = ["stores:read"]
WIDE = ["stores:read", "contacts:reveal"]


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    return await launch()


async def reveal(rig: Rig, scopes: list[str], login: int, **arguments: Any) -> Reply:
    """Call with the token of a login, of which each is a second later than the one before."""
    given = {"contact_ids": ["a"], "confirm_spend_credits": True, **arguments}
    return await rig.call("reveal_contacts", given, token=rig.issuer.mint(scopes=scopes, age=-login))


def is_challenge(reply: Reply) -> bool:
    """True for a challenge, False for the tool result that stands in its place."""
    assert reply.code == "insufficient_scope"
    assert (reply.status == 403) == ("WWW-Authenticate" in reply.headers)
    return reply.status == 403


async def stepped_up(rig: Rig) -> None:
    """Lack the scope at the first login, and have it at the second."""
    assert is_challenge(await reveal(rig, NARROW, 0))
    assert (await reveal(rig, WIDE, 1)).code is None


async def test_a_login_after_a_revocation_is_challenged_for_a_scope_that_an_earlier_login_added(rig: Rig):
    await stepped_up(rig)
    await rig.revoke()
    assert (await reveal(rig, WIDE, 1)).code == "consent_revoked"
    await rig.grant()
    assert is_challenge(await reveal(rig, NARROW, 2))
    assert (await reveal(rig, WIDE, 3)).code is None


async def test_a_login_after_a_revocation_that_adds_nothing_is_challenged_once(rig: Rig):
    await stepped_up(rig)
    await rig.revoke()
    await rig.grant()
    assert is_challenge(await reveal(rig, NARROW, 2))
    assert [is_challenge(await reveal(rig, NARROW, login)) for login in (3, 4)] == [False, False]


async def test_a_new_consent_at_each_login_does_not_bring_the_loop_back(rig: Rig):
    assert is_challenge(await reveal(rig, NARROW, 0))
    for login in (1, 2, 3):
        await rig.grant()  # as an issuer mirrors it at every login
        assert not is_challenge(await reveal(rig, NARROW, login))


async def test_a_call_that_is_refused_for_something_else_shows_that_the_login_added_the_scope(rig: Rig):
    assert is_challenge(await reveal(rig, NARROW, 0))
    assert (await reveal(rig, WIDE, 1, confirm_spend_credits=False)).code == "confirmation_required"
    assert is_challenge(await reveal(rig, NARROW, 2))
