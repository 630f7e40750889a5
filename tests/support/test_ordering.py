"""Long modules begin first, one on each worker, and no test is lost."""

from __future__ import annotations

import pytest

from tests.support.ordering import LONG, spread

TESTS = [f"{module}::{number}" for module in ("a", "b", "long1", "c", "long2", "d") for number in range(4)]


def module_of(test: str) -> str:
    return test.partition("::")[0]


def seconds_of(test: str) -> float:
    return LONG if test in ("long1::3", "long2::0") else 300.0


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 24, 30])
def test_every_test_is_kept(workers: int):
    assert sorted(spread(TESTS, workers, module_of, seconds_of)) == sorted(TESTS)


def test_each_worker_begins_with_a_long_module():
    ordered = spread(TESTS, 2, module_of, seconds_of)
    assert [module_of(test) for test in ordered[:4]] == ["long1"] * 4
    assert [module_of(test) for test in ordered[12:16]] == ["long2"] * 4
    assert ordered[4:12] == [f"{module}::{number}" for module in "ab" for number in range(4)]


def test_without_long_modules_the_order_stays():
    assert spread(TESTS, 4, module_of, lambda test: 300.0) == TESTS
