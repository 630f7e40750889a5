"""Work of a call, counted: it fails when a call begins to do more, on any machine and however busy that is."""

from __future__ import annotations

from functools import cache

import pytest

from bench.programs import MissingError
from bench.special.cold import FIRST
from bench.work import by_file, counted, functions_of, system_calls_of
from bench.workloads import WORKLOADS

FUNCTIONS = {"scoped": 297, "priced": 388}
"""Python and C function calls, and resumptions of coroutines, that a call may make."""
REFUSED = {"refused-scope": 232, "refused-signature": 172, "refused-token": 179}
"""Function calls that a refused call may make."""
FIRST_VERIFICATION = 137
"""Function calls that a new token may add to a call, in a head whose other lines are known."""
SYSTEM_CALLS = 14
"""Reads, writes and waits that a call may make."""


pytestmark = pytest.mark.process


@cache
def functions(workload: str) -> float:
    return sum(functions_of(WORKLOADS[workload]).values())


def least(workload: str, limit: float) -> float:
    """The fewest of up to three counts: on a busy machine, timers of the background run more often for each call."""
    found = functions(workload)
    for _ in range(2):
        if found > limit:
            found = min(found, sum(functions_of(WORKLOADS[workload]).values()))
    return found


@pytest.mark.parametrize("workload", FUNCTIONS)
def test_function_calls_of_a_policed_call(workload: str):
    assert least(workload, FUNCTIONS[workload]) <= FUNCTIONS[workload]


def test_function_calls_that_a_new_token_adds():
    limit = functions("scoped") + FIRST_VERIFICATION
    assert any(sum(functions_of(FIRST).values()) <= limit for _ in range(3))  # see `least`


@pytest.mark.parametrize("workload", FUNCTIONS)
def test_system_calls_of_a_policed_call(workload: str):
    try:
        made = system_calls_of(WORKLOADS[workload])
    except (MissingError, PermissionError) as missing:
        pytest.skip(str(missing))
    assert sum(made.values()) <= SYSTEM_CALLS, made


def test_an_answer_with_the_head_of_the_one_before_is_not_parsed():
    called = functions_of(WORKLOADS["scoped"])
    assert [name for name in called if name.endswith("BackendConnection.data_received")]
    assert sum(count for name, count in called.items() if name.endswith("BackendConnection.on_headers_complete")) < 0.1


def test_without_tracing_no_function_of_it_is_called():
    called = functions_of(WORKLOADS["scoped"])
    assert [name for name in called if "/observe/record.py" in name]
    assert [name for name in called if "/observe/tracing/" in name] == []


@pytest.mark.parametrize("refused", REFUSED)
def test_a_refused_call_does_a_fifth_less_than_an_allowed_one(refused: str):
    assert least(refused, REFUSED[refused]) <= REFUSED[refused] < 0.8 * functions("scoped")


def test_a_policy_of_thousands_of_tools_and_scopes_adds_no_work_to_a_call():
    few = functions("scoped") + 5
    assert least("growth-policy", few) <= few


def test_summary_of_strace():
    summary = """
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 51.97    0.006737           3      2000           write
 21.59    0.002799           1      1000         4 read
------ ----------- ----------- --------- --------- ----------------
100.00    0.012963           2      3000         4 total
"""
    assert counted(summary, 500) == {"write": 4.0, "read": 2.0}


def test_functions_count_for_the_file_of_their_caller():
    names = {
        "/x/sidecar/proxy/admit.py:10 Admission.admit": 2.0,
        "/x/sidecar/proxy/admit.py:10 Admission.admit -> len": 1.0,
        "/y/site-packages/aiohttp/streams.py:7 feed_eof": 1.0,
    }
    assert by_file(names) == {"sidecar/proxy/admit.py": 3.0, "aiohttp/streams.py": 1.0}
