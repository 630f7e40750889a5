"""Store part of `explain`: the admission script in look mode, and the account's record. It writes nothing."""

from __future__ import annotations

from typing import Final

from sidecar.cli.common import CommandError
from sidecar.cli.store_access import with_store
from sidecar.config.settings.settings import Settings
from sidecar.ledger import decoding
from sidecar.management.operator_store import OperatorStore
from sidecar.model import Application
from sidecar.store.commands import scripts
from sidecar.store.commands.keys import caller_keys
from sidecar.workbench.explaining.store_look import StoreLook

_WITHIN: Final = 2.0  # seconds


def look_at(settings: Settings, application: Application) -> StoreLook:
    """Ask the configured store about one call, without reserving.

    Args:
        settings: the config.
        application: what the gates ask; its `dry_run` is True.

    Raises:
        CommandError: the store is unreachable or rejects the question.
    """
    if settings.store.embedded and not settings.store.directory.is_dir():
        # Starting the server would create it.
        raise CommandError(f"store: {settings.store.directory} does not exist: start the sidecar, or use --offline")

    async def ask(store: OperatorStore) -> StoreLook:
        reply = scripts.admitted(application, await store.run(scripts.admit(application)))
        record = await store.record(caller_keys(application.caller).account)
        state = decoding.parse(record, {}, {}, {})
        return StoreLook(reply, bool(record) and "deleted" not in record, state.plan, state.active)

    try:
        return with_store(settings, ask, read_only=True, connect_within=_WITHIN)
    except CommandError as error:
        raise CommandError(f"{error}; --offline explains the call for an account without usage") from error
