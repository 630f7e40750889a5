"""Histories of consents: what is granted, revoked for one client or for all, lifted and forgotten, in any order."""

from __future__ import annotations

import random
from typing import Final

from hypothesis import strategies as st

from sidecar.ledger.accounts import AccountState
from sidecar.ledger.admission import effective_consent
from tests.store.support import CALLER

STEPS: Final = (
    *(("revoke all",), ("cover",), ("lift",), ("wait",), ("forget own",), ("forget every",)),
    *(("grant own",), ("grant every",), ("revoke own",), ("revoke every",)),
    *(("write revoked now",), ("write revoked later",), ("write revoked undated",), ("write granted now",)),
    *(("grant own", "revoke all with the known"), ("forget own", "grant every", "revoke all with the known")),
    *(("grant own", "revoke all", "cover"), ("grant every", "revoke all", "cover")),
    *(("grant own", "revoke all"), ("forget own", "revoke all", "grant every"), ("lift", "forget own", "forget every")),
)

CONSENT_CASES: Final = (
    *("all revoked: a client without a record", "all revoked: an older consent", "all revoked: a newer consent"),
    *("all revoked: a newer consent of every subject", "all revoked: a revoked client"),
    *("nothing revoked for all: a revoked client", "nothing revoked for all: a client without a record"),
    *("nothing revoked for all: a consent", "consents that were revoked with all", "covered consents", "lifted"),
)
"""All that a run has to meet of consents."""


def _history(seed: int) -> tuple[str, ...]:
    dice = random.Random(seed)
    return tuple(step for _ in range(14 + seed % 5) for step in dice.choice(STEPS))


CONSENTS: Final = st.integers(0, 2**20).map(_history)


def case_of(state: AccountState) -> str:
    """The case that a call of the caller is."""
    own = state.consents.get((CALLER.subject, CALLER.client_id))
    every = state.clients.get(CALLER.client_id)
    consent = effective_consent(state, CALLER)
    if state.revocation is None:
        if consent is None:
            return "nothing revoked for all: a client without a record"
        return f"nothing revoked for all: {'a consent' if consent.granted else 'a revoked client'}"
    if own is None and every is None:
        return "all revoked: a client without a record"
    if consent is not None and consent.granted:
        mine = own is not None and own.at is not None and own.granted
        newer = mine and own is not None and (own.at or 0) > (state.revocation.at or 0)
        return "all revoked: a newer consent" + ("" if newer else " of every subject")
    return f"all revoked: {'an older consent' if consent is state.revocation else 'a revoked client'}"
