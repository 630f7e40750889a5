"""Reading /proc, and lists of samples."""

from __future__ import annotations

import os
import time

import pytest

from bench.load import Sample
from bench.machine import LOAD_CORE, PROXY_CORE, awake
from bench.measure import CpuClock, descendants, parent_of, pss_of, running_of, spent, ticks_of

STAT = "4242 (a (very) odd) name) S 17 4242 4242 0 -1 4194560 1 2 3 4 250 50 7 9 20 0 1 0 100 0 0"


def test_a_name_may_have_parentheses_and_spaces():
    assert (parent_of(STAT), ticks_of(STAT)) == (17, 300)


def test_the_scheduler_counts_nanoseconds():
    assert running_of("2742763 99 1\n") == 2742763


def test_the_proportional_size_is_found_among_the_others():
    assert pss_of("Rss:    1668 kB\nPss:     250 kB\nPss_Dirty:   108 kB\n") == 250 * 1024
    assert pss_of("") == 0


def test_threads_that_began_count_from_zero_and_those_that_ended_not_at_all():
    assert spent({"1/1": 1.0, "1/2": 5.0}, {"1/1": 1.5, "1/3": 0.25}) == 0.75


def test_a_process_is_among_its_own_descendants():
    assert os.getpid() in descendants([os.getppid()])


def test_the_clock_counts_what_this_process_does():
    clock = CpuClock([os.getpid()])
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert clock.seconds() >= 0.02  # the scheduler may update its count late


@pytest.mark.parametrize(("share", "expected"), [(0.5, 1.0), (0.9, 2.0), (0.99, 30.0), (1.0, 30.0)])
def test_a_quantile_counts_calls_and_not_entries(share: float, expected: float):
    sample = Sample(calls=100, seconds=1, refused=0, broken=0, latency=[(1.0, 50), (2.0, 40), (30.0, 10)])
    assert sample.quantile(share) == expected


def test_a_quantile_of_nothing_is_zero():
    assert Sample(0, 1, 0, 0, []).quantile(0.5) == 0.0


@pytest.mark.process
def test_cores_are_kept_awake_by_processes_that_give_way_to_all_others_and_end():
    with awake() as pids:
        assert [os.sched_getscheduler(pid) for pid in pids] == [os.SCHED_IDLE] * 2
        assert [os.sched_getaffinity(pid) for pid in pids] == [{PROXY_CORE}, {LOAD_CORE}]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
