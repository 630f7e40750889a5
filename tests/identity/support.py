"""What the tests of gate 2 share: an issuer as configured, and clocks that stand still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sidecar.config.settings import Issuer as Settings
from sidecar.errors import ErrorCode, Refusal
from tests.support.issuer import Issuer

NOW = 1_800_000_000


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def configured(issuer: Issuer, **keys: Any) -> Settings:
    """The issuer as the config has it."""
    return Settings.model_validate({"issuer": issuer.url, **keys})


@contextmanager
def refused(code: ErrorCode, phrase: str = "") -> Iterator[pytest.ExceptionInfo[Refusal]]:
    """Assert that a block refuses with this code, and with this phrase in what the caller reads."""
    with pytest.raises(Refusal) as info:
        yield info
    assert info.value.code is code, info.value.log
    assert phrase in info.value.detail
