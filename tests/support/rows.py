"""Tables of rows that take less time than a test of their own: one test checks all and reports each failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Row = TypeVar("Row")


def for_each(rows: Iterable[Row]) -> Callable[[Callable[[Row], None]], Callable[[], None]]:
    """Make a test of one row a test of all these rows, which fails with the errors of all that fail."""
    table = tuple(rows)

    def made(check: Callable[[Row], None]) -> Callable[[], None]:
        def test() -> None:
            assert table, "a table without rows checks nothing"
            failed: list[Exception] = []
            for row in table:
                try:
                    check(row)
                except Exception as error:  # noqa: BLE001 - raised below, with those of the other rows
                    error.add_note(f"row: {row!r}")
                    failed.append(error)
            if failed:
                raise ExceptionGroup(f"{len(failed)} of {len(table)} rows fail", failed)

        # Not `functools.wraps`: pytest would take the argument of the original for a fixture.
        test.__name__, test.__doc__, test.__module__ = check.__name__, check.__doc__, check.__module__
        return test

    return made
