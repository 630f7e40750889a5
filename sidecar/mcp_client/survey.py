"""Survey of a backend: everything that it lists, read once by a command."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

from sidecar.mcp_client.conversation import Conversation, ListingError, Welcome, discover, end, entries, initialize
from sidecar.proxy.backend.answer import UpstreamError
from sidecar.proxy.backend.pool import BackendPool
from sidecar.workbench.scaffolding.inventory import Inventory

SURVEY_WITHIN: Final = 30.0
"""Seconds for all lists."""

_INFO_KEY: Final = "io.modelcontextprotocol/serverInfo"
_OTHERS: Final = (
    ("resources", "resources/list", "resources"),
    ("resources", "resources/templates/list", "resourceTemplates"),
    ("prompts", "prompts/list", "prompts"),
)
"""Lists in addition to the tools: the capability that announces them, the method, and the member of its result."""


async def survey(url: str, headers: Iterable[tuple[str, str]] = (), within: float = SURVEY_WITHIN) -> Inventory:
    """Read everything that a backend lists.

    Args:
        url: of the backend.
        headers: sent with every request.
        within: seconds for all of it.

    Raises:
        ListingError: the tools cannot be listed, or not completely. Other lists that fail are `Inventory.unread`.
        ValueError: the URL or a header cannot be used.
    """
    tls = ssl.create_default_context() if url.startswith("https:") else None
    pool = BackendPool(url, headers=headers, tls=tls)
    try:
        return await survey_by(pool, within)
    finally:
        pool.close()


async def survey_by(upstream: BackendPool, within: float = SURVEY_WITHIN) -> Inventory:
    """Read everything that a backend lists, over connections of the caller's; see `survey`."""
    conversation = Conversation(upstream, within)
    try:
        async with _opened(conversation) as welcome:
            return await _read(conversation, welcome)
    except UpstreamError as error:
        raise ListingError(error.log) from None


@contextlib.asynccontextmanager
async def _opened(conversation: Conversation) -> AsyncIterator[Welcome]:
    welcome = await discover(conversation)
    if welcome is not None:
        yield welcome
        return
    try:
        yield await initialize(conversation)
    finally:
        await end(conversation)


async def _read(conversation: Conversation, welcome: Welcome) -> Inventory:
    lists: dict[str, list[Any]] = {}
    unread: list[str] = []
    tools = await _tools(conversation, welcome, unread)
    for capability, method, member in _OTHERS:
        lists[member] = []
        if _announces(welcome, capability):
            try:
                lists[member] = await entries(conversation, method, member)
            except (ListingError, UpstreamError) as error:
                reason = error.log if isinstance(error, UpstreamError) else error
                unread.append(f"{method} could not be read: {reason}")
    info = _info(welcome.result)
    return Inventory(
        server=_text(info.get("name")),
        version=_text(info.get("version")),
        protocol=welcome.version,
        tools=tuple(tools),
        resources=tuple(lists["resources"]),
        templates=tuple(lists["resourceTemplates"]),
        prompts=tuple(lists["prompts"]),
        completions=_announces(welcome, "completions"),
        unread=tuple(unread),
    )


async def _tools(conversation: Conversation, welcome: Welcome, unread: list[str]) -> list[Any]:
    """Return the tools; servers have them without announcing it, so only an announced list must be readable."""
    try:
        return await entries(conversation, "tools/list", "tools")
    except ListingError as error:
        if _announces(welcome, "tools"):
            raise
        unread.append(f"tools/list could not be read: {error}")
        return []


def _announces(welcome: Welcome, capability: str) -> bool:
    announced = welcome.result.get("capabilities")
    return isinstance(announced, dict) and isinstance(announced.get(capability), dict)


def _info(result: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = result.get("_meta")
    found = result.get("serverInfo") or (meta.get(_INFO_KEY) if isinstance(meta, dict) else None)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
