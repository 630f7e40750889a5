"""Every input of the corpus, and a short round of new ones; `python -m tests.fuzz` runs longer."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.fuzz.rounds import fuzzed, replayed
from tests.fuzz.targets import TARGETS

ROUND = 1500
"""Made inputs of one target: a second or two."""


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_of_the_corpus_keeps_the_invariants(name: str):
    assert len(TARGETS[name].corpus()) > 20
    assert not [str(found) for found in replayed(TARGETS[name])]


@pytest.mark.parametrize("name", TARGETS)
def test_a_round_of_generated_inputs(name: str):
    found = list(islice(fuzzed(TARGETS[name], range(ROUND)), 3))
    assert not found, "\n\n".join(map(str, found))
