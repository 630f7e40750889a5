"""Processors that a process may use."""

import os
from pathlib import Path

import pytest

from sidecar.system.processors import processors

AFFINE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, AFFINE),
        ({"cpu.max": "max 100000\n"}, AFFINE),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "99900000 100000\n"}, AFFINE),
        ({"cpu.max": "nonsense"}, AFFINE),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, AFFINE),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "0\n"}, AFFINE),
    ],
)
def test_a_quota_of_the_container_bounds_the_number(tmp_path: Path, files: dict[str, str], expected: int):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert processors(tmp_path) == expected
