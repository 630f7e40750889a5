"""The settlement table says what the code that settles does, and leaves nothing out."""

from __future__ import annotations

import pytest

from sidecar.ledger.settlement import action
from sidecar.ledger.settlement_table import BY_NAME, ENDINGS, Cost, SettlementRow, Theme
from sidecar.model import OnUnknown
from sidecar.outcome import Action, Event

# A deferred call of which nothing more is heard costs what was reserved, when its lease ends.
COSTS = {
    Action.CHARGE_RESULT: Cost.TRUE,
    Action.CHARGE_RESERVE: Cost.RESERVED,
    Action.RELEASE: Cost.NOTHING,
    Action.DEFER: Cost.RESERVED,
}


@pytest.mark.parametrize("ending", ENDINGS, ids=[ending.name for ending in ENDINGS])
@pytest.mark.parametrize("on_unknown", OnUnknown)
def test_a_row_costs_what_its_last_event_does(ending: SettlementRow, on_unknown: OnUnknown):
    assert ending.costs[on_unknown] is COSTS[action(ending.events[-1], on_unknown, ending.charge_errors)]


def test_every_event_and_theme_has_a_row():
    assert {event for ending in ENDINGS for event in ending.events} == set(Event)
    assert [theme for theme in Theme if any(ending.theme is theme for ending in ENDINGS)] == list(Theme)


def test_no_row_is_there_twice():
    assert len(BY_NAME) == len(ENDINGS) == len({(ending.theme, ending.words) for ending in ENDINGS})


def test_only_what_was_not_sent_gives_fixed_amounts_back():
    assert all(ending.sent is (ending.events != (Event.NOT_SENT,)) for ending in ENDINGS)
