"""Store access of commands: one connection for the time of a command, and failures as messages."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sidecar.cli.common import CommandError, UsageError, issuer_id
from sidecar.config.settings.settings import Settings
from sidecar.management.failures import FailureCode, ManagementError, store_failures
from sidecar.management.operator_store import CONNECT_WITHIN, OperatorStore
from sidecar.management.targets import Target

AUTHOR: Final = "command"
"""Author of the changes that commands make."""

T = TypeVar("T")


def target_of(arguments: argparse.Namespace, settings: Settings) -> Target:
    """Return the account that the command line names."""
    return Target(issuer_id(arguments, settings), arguments.account)


def with_store(
    settings: Settings,
    work: Callable[[OperatorStore], Awaitable[T]],
    *,
    read_only: bool = False,
    connect_within: float = CONNECT_WITHIN,
) -> T:
    """Connect to the configured store, run `work`, and disconnect; the embedded store is started if it does not run.

    Args:
        settings: the config.
        work: runs with the store.
        read_only: True does not mark an empty store with the layout's version; `work` must not write either.
        connect_within: seconds for the connection.

    Raises:
        CommandError: the store is unreachable or rejects a command, or the operation fails; the message is for the
            operator.
        UsageError: the command line names a plan, quota or pool that the policy does not have.
    """

    async def run() -> T:
        with store_failures():
            store = OperatorStore(settings.store, read_only=read_only)
            try:
                await store.start(connect_within)
                return await work(store)
            finally:
                await store.close()

    try:
        return asyncio.run(run())
    except ManagementError as error:
        wrong_line = error.code in (FailureCode.NAME_UNKNOWN, FailureCode.INVALID)
        raise (UsageError if wrong_line else CommandError)(str(error)) from error


def unless_unknown(error: ManagementError, hint: str) -> CommandError | ManagementError:
    """Return the error, with a hint where the account is unknown."""
    return CommandError(f"{error}{hint}") if error.code is FailureCode.ACCOUNT_UNKNOWN else error
