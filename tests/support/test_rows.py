"""A table is checked to its end, and each row that fails is reported."""

from __future__ import annotations

import pytest

from tests.support.rows import for_each


def test_every_row_is_checked_and_each_failure_is_reported():
    checked: list[int] = []

    @for_each([1, 2, 3, 4])
    def even(row: int) -> None:
        checked.append(row)
        assert row % 2 == 0

    with pytest.raises(ExceptionGroup) as caught:
        even()
    assert checked == [1, 2, 3, 4]
    assert [error.__notes__ for error in caught.value.exceptions] == [["row: 1"], ["row: 3"]]


def test_a_table_without_rows_fails():
    @for_each([])
    def anything(row: int) -> None:
        raise AssertionError(row)

    with pytest.raises(AssertionError, match="without rows"):
        anything()
