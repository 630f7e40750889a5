"""Every row of the settlement table has a test, and every test a row."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from sidecar.ledger.settlement_table import ENDINGS, SettlementRow

FOLDER = Path(__file__).parent


def rows_of(module: str) -> list[SettlementRow]:
    """The rows for which a module runs tests, as pytest itself reads them."""
    functions = vars(importlib.import_module(f"tests.settlement.{module}"))
    marks: list[pytest.Mark] = [
        mark
        for name, function in functions.items()
        if name.startswith("test_")
        for mark in getattr(function, "pytestmark", ())
        if mark.name == "parametrize" and "ending" in (mark.args[0] if isinstance(mark.args[0], tuple) else mark.args)
    ]
    cases = [case.values if hasattr(case, "values") else (case,) for mark in marks for case in mark.args[1]]
    return [part for case in cases for part in case if isinstance(part, SettlementRow)]


def test_every_row_is_run_against_real_processes():
    run = [ending for path in FOLDER.glob("test_*.py") for ending in rows_of(path.stem)]
    assert {ending.name for ending in run} == {ending.name for ending in ENDINGS}
