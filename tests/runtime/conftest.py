"""Fixtures of running sidecars, shared with the tests of the proxy."""

from tests.proxy.conftest import bare, launch, rig

__all__ = ["bare", "launch", "rig"]
