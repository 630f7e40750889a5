"""Run of a trial: the sidecar in front of a server, with a trial issuer, until the context is left.

Both run in this process; the sidecar starts its private store, and stops it at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sidecar.mcp_client.conversation import Conversation, ListingError, discover, initialize
from sidecar.observe.logs import Lines
from sidecar.policy.rules import Policy
from sidecar.proxy.backend.answer import UpstreamError
from sidecar.proxy.backend.pool import BackendPool
from sidecar.runtime.app import Sidecar
from sidecar.store.commands import changes
from sidecar.trial.issuer import TrialIssuer
from sidecar.trial.oauth import ApprovedClient, OAuthError
from sidecar.workbench.loading import Loaded

READY_WITHIN: Final = 30.0
"""Seconds for the store, the keys and the backend."""
CLIENT: Final = "curl"
"""Client of the first token."""
LIFETIME: Final = 8 * 3600
"""Seconds for which the tokens of a trial are valid."""

_LOOK_EVERY: Final = 0.05
_OPEN_WITHIN: Final = 15.0


class TrialError(Exception):
    """A trial cannot start; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Opened:
    """First token, and the conversation that it can go on with.

    Attributes:
        token: of the issuer's person and `CLIENT`, with all scopes of the policy.
        version: the revision that the backend speaks.
        session: id of an open session, where the backend has sessions.
    """

    token: str
    version: str
    session: str | None


@asynccontextmanager
async def running(
    config: Path, loaded: Loaded, issuer: TrialIssuer, lines: Lines, reloaded: Callable[[bool], None]
) -> AsyncIterator[tuple[Sidecar, asyncio.Event]]:
    """Run the sidecar; the event that is returned asks for a reload.

    Args:
        config: the config file.
        loaded: its content.
        issuer: the issuer, which is being served; its approvals become consents.
        lines: the log.
        reloaded: takes the outcome of each reload.

    Raises:
        OSError: an address cannot be listened on.
        TrialError: the sidecar does not become ready.
    """
    asked = asyncio.Event()
    async with Sidecar(config, loaded, lines) as sidecar:

        async def reload_forever() -> None:
            while True:
                await asked.wait()
                asked.clear()
                reloaded(await sidecar.reload())

        async def approve(approval: ApprovedClient) -> None:
            names = (approval.subject, approval.subject, approval.client_id)
            try:
                await sidecar.store.run(changes.grant("main", *names, approval.scopes))
            except Exception as error:  # the store is unreachable, and the client may try again
                raise OAuthError("temporarily_unavailable", "The approval could not be recorded.", 503) from error

        await _ready(sidecar)
        issuer.on_approval = approve
        reloading = asyncio.create_task(reload_forever(), name="trial reloads")
        try:
            yield sidecar, asked
        finally:
            reloading.cancel()
            await asyncio.wait([reloading])


async def _ready(sidecar: Sidecar) -> None:
    try:
        async with asyncio.timeout(READY_WITHIN):
            while not sidecar.readiness.ready:  # noqa: ASYNC110 - its checks are values, not events
                await asyncio.sleep(_LOOK_EVERY)
    except TimeoutError:
        failed = [check for check in sidecar.readiness.now() if check.required and not check.ok]
        raise TrialError("; ".join(f"{check.name}: {check.unavailable_reason}" for check in failed)) from None


async def open_first(sidecar: Sidecar, issuer: TrialIssuer, policy: Policy, url: str) -> Opened:
    """Get the first token, and begin a conversation with it through the sidecar.

    Raises:
        TrialError: the backend refuses it.
    """
    issuer.scopes = tuple(policy.scope_names)
    if issuer.on_approval is not None and policy.consent.value == "required":
        await issuer.on_approval(ApprovedClient(issuer.person, CLIENT, CLIENT, issuer.scopes))
    token = issuer.mint(client_id=CLIENT)
    pool = BackendPool(url, headers=[("Authorization", f"Bearer {token}")])
    try:
        conversation = Conversation(pool, _OPEN_WITHIN)
        welcome = await discover(conversation) or await initialize(conversation)
    except (ListingError, UpstreamError) as error:
        raise TrialError(f"the server does not begin a conversation: {error}") from None
    finally:
        pool.close()
    return Opened(token, welcome.version, conversation.session)
