"""Settings, policy and what follows from them, as one immutable object that a request takes once."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.config.settings import Settings
from sidecar.policy.rules import Policy
from sidecar.proxy.transport import Doors


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that may change on a reload.

    Attributes:
        settings: config.yaml.
        policy: the compiled policy.
        doors: the paths, Host names and origins that follow from the settings.
    """

    settings: Settings
    policy: Policy
    doors: Doors

    @classmethod
    def of(cls, settings: Settings, policy: Policy) -> Snapshot:
        """Put a complete snapshot together."""
        return cls(settings, policy, Doors.of(settings, policy))
