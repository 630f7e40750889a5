"""Pauses between the restarts of a worker."""

from sidecar.runtime.workers.back_off import LONGEST, STABLE_AFTER, BackOff


def test_the_first_death_is_followed_by_a_restart_at_once_and_further_ones_wait_longer():
    back_off = BackOff()
    assert [back_off.pause(1.0) for _ in range(8)] == [0, 1, 2, 4, 8, 16, LONGEST, LONGEST]


def test_a_worker_that_served_for_a_while_begins_the_count_again():
    back_off = BackOff()
    pauses = [back_off.pause(served) for served in (1.0, 1.0, 1.0, STABLE_AFTER, 1.0)]
    assert pauses == [0, 1, 2, 0, 1]
