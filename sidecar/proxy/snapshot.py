"""Settings, policy and what follows from them, as one immutable object that a request takes once."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.config.settings import Settings
from sidecar.identity.authenticator import Authenticator
from sidecar.identity.ring import KeyRing
from sidecar.policy.rules import Policy
from sidecar.proxy.transport import Doors


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a reload replaces, in one assignment.

    Attributes:
        settings: config.yaml.
        policy: the compiled policy.
        doors: the paths, Host names and origins that follow from them.
        authenticator: gate 2 for these issuers; remembers the tokens it has verified.
    """

    settings: Settings
    policy: Policy
    doors: Doors
    authenticator: Authenticator

    @classmethod
    def of(cls, settings: Settings, policy: Policy, ring: KeyRing) -> Snapshot:
        """Put a complete snapshot together."""
        return cls(
            settings,
            policy,
            Doors.of(settings, policy),
            Authenticator(settings.resource, settings.issuers, ring),
        )
