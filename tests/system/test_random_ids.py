"""Ids from one block of random bytes, and from the next."""

from __future__ import annotations

import re

from sidecar.system.random_ids import random_id


def test_ids_differ_within_a_block_and_across_blocks():
    made = [random_id() for _ in range(2000)]

    assert len(set(made)) == 2000
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in made)


def test_halves_of_an_id_differ_as_well():
    made = [random_id() for _ in range(2000)]

    assert len({each[:16] for each in made} | {each[16:] for each in made}) == 4000
