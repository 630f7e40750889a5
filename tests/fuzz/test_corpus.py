"""Every input that was ever kept, and a short round of new ones; `python -m tests.fuzz` goes on for longer."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.fuzz.rounds import fuzzed, replayed
from tests.fuzz.targets import TARGETS

ROUND = 1500
"""Made inputs of one target: a second or two."""


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_is_read_as_promised(name: str):
    assert len(TARGETS[name].corpus()) > 20
    assert not [str(found) for found in replayed(TARGETS[name])]


@pytest.mark.parametrize("name", TARGETS)
def test_a_round_of_made_inputs(name: str):
    found = list(islice(fuzzed(TARGETS[name], range(ROUND)), 3))
    assert not found, "\n\n".join(map(str, found))
