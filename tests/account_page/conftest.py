"""A sidecar with an account page, whose people log in at a trial issuer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from sidecar.trial.issuer import TrialIssuer
from sidecar.trial.issuer_server import serving
from sidecar.trial.oauth import Signer
from tests.account_page.stage import SCOPES, Stage
from tests.proxy.support import POLICY
from tests.support.rig import rig
from tests.support.store import StoreServer, until

Launch = Callable[..., Awaitable[Stage]]


@pytest.fixture(scope="session")
def issuer_key() -> Signer:
    """The issuer's key: making one of RSA takes longer than the rest of a start."""
    return Signer()


@pytest.fixture
async def launch(tmp_path: Path, store_server: StoreServer, issuer_key: Signer) -> AsyncIterator[Launch]:
    """Start a sidecar; Ada is on the growth plan with ten credits, and has approved cli-1."""
    async with AsyncExitStack() as stack:

        async def start(
            page: dict[str, Any] | None = None,
            issuer: dict[str, Any] | None = None,
            server: StoreServer = store_server,
            **options: Any,
        ) -> Stage:
            trial = TrialIssuer(scopes=SCOPES, keys=[issuer_key])
            url = await stack.enter_async_context(serving(trial))
            settings = {"client_id": "page", **(page or {})}
            options = {"policy": POLICY, "account_page": settings, **options}
            made = await stack.enter_async_context(
                rig(tmp_path, server, issuers=[{"issuer": url, **(issuer or {})}], **options)
            )
            trial.resources = (made.url,)
            base = made.url.removesuffix("/mcp")
            trial.add_client("page", f"{base}{settings.get('path', '/account')}/callback")
            await until(lambda: made.sidecar.store.up)
            await made.account(credits=10)
            await made.grant()
            return Stage(made, trial, base)

        yield start


@pytest.fixture
async def stage(launch: Launch) -> Stage:
    """A sidecar that is ready, with one account."""
    return await launch()
