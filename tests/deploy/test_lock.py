"""The locks that the image is built from: complete, within the ranges of pyproject.toml, hashed, without URLs."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {name: (ROOT / "deploy" / f"{name}.lock").read_text() for name in ("requirements", "build")}
EXTRAS = re.findall(r"^IMAGE_EXTRAS := (.*)$", (ROOT / "Makefile").read_text(), re.M)[0].split()
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def entries(lock: str) -> Iterator[tuple[Requirement, list[str]]]:
    """The requirements of a lock with their hashes."""
    for line in lock.replace("\\\n", " ").splitlines():
        if line and not line.startswith("#"):
            words = line.split(" --hash=")
            yield Requirement(words[0]), [word.strip() for word in words[1:]]


def pinned(lock: str, python: str) -> dict[str, str]:
    """Versions that a lock gives to Linux with this Python."""
    found: dict[str, str] = {}
    for requirement, _ in entries(lock):
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            [pin] = requirement.specifier
            found[canonicalize_name(requirement.name)] = pin.version
    return found


def environment(python: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "extra": "",
    }


def satisfied(requirements: list[str], lock: dict[str, str]) -> list[str]:
    """Return the requirements that a lock does not satisfy."""
    missing = []
    for text in requirements:
        asked = Requirement(text)
        pin = lock.get(canonicalize_name(asked.name))
        if pin is None or not asked.specifier.contains(pin):
            missing.append(text)
    return missing


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_no_line_names_an_index(name: str):
    for requirement, hashes in entries(LOCKS[name]):
        [pin] = requirement.specifier
        assert pin.operator == "=="
        assert requirement.url is None
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes)
    assert "://" not in LOCKS[name]
    assert re.findall(r"^\s*--(?!hash=)", LOCKS[name], re.M) == []


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_within_the_ranges_of_the_project(python: str):
    project = PROJECT["project"]
    asked = [*project["dependencies"], *(each for extra in EXTRAS for each in project["optional-dependencies"][extra])]
    assert "embedded" in EXTRAS
    assert satisfied(asked, pinned(LOCKS["requirements"], python)) == []
    assert satisfied(PROJECT["build-system"]["requires"], pinned(LOCKS["build"], python)) == []


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_what_its_packages_need(python: str):
    """By the metadata of the packages installed here; the build of the image runs `pip check` on all of them."""
    lock = pinned(LOCKS["requirements"], python)
    compared = 0
    for name, version in lock.items():
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if Version(installed.version) != Version(version):
            continue
        needs = [Requirement(text) for text in installed.requires or ()]
        here = [str(each) for each in needs if each.marker is None or each.marker.evaluate(environment(python))]
        assert satisfied(here, lock) == [], name
        compared += 1
    assert compared > len(lock) / 2, "the lock is older than this environment: make lock"


def test_a_lock_outside_a_range_is_found():
    assert satisfied(["aiohttp>=3.14,<3.15", "orjson>=3"], {"aiohttp": "3.13.0", "orjson": "3.11"}) == [
        "aiohttp>=3.14,<3.15"
    ]
    assert satisfied(["missing"], {}) == ["missing"]
