"""Account that an operation reads or changes."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.store.commands.keys import AccountKeys, account_keys


@dataclass(frozen=True, slots=True)
class Target:
    """Account that an operation reads or changes."""

    issuer: str
    account: str

    @property
    def keys(self) -> AccountKeys:
        """Keys of the account in the store."""
        return account_keys(self.issuer, self.account)

    def __str__(self) -> str:
        return f"{self.account} ({self.issuer})"
