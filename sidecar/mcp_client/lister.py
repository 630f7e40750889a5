"""List of the backend's tools, as a running sidecar learns it."""

from __future__ import annotations

from typing import Final

from sidecar.mcp_client.conversation import Conversation, Json, ListingError, discover, end, entries, initialize
from sidecar.proxy.backend.answer import UpstreamError
from sidecar.proxy.backend.pool import BackendPool
from sidecar.proxy.memory import MemoryLease

LIST_WITHIN: Final = 10.0
"""Seconds for one whole listing."""


class Lister:
    """List the backend's tools.

    Args:
        upstream: the backend.

    Attributes:
        upstream: as given.
    """

    def __init__(self, upstream: BackendPool) -> None:
        self.upstream = upstream
        self._legacy = False  # the backend refused `server/discover` and took `initialize`

    async def list_tools(self, within: float = LIST_WITHIN, memory: MemoryLease | None = None) -> list[Json]:
        """Return every tool definition that the backend lists without an account.

        Args:
            within: seconds for all of it.
            memory: holds the pages; without one they are not counted. The caller closes it.

        Raises:
            ListingError: it cannot be listed, or not completely.
        """
        conversation = Conversation(self.upstream, within, memory)
        try:
            if not self._legacy and await discover(conversation) is not None:
                return await _tools(conversation)
            try:
                await initialize(conversation)
                self._legacy = True
                return await _tools(conversation)
            except ListingError:
                self._legacy = False  # ask again next time: the backend may have been replaced
                raise
            finally:
                await end(conversation)
        except UpstreamError as error:
            raise ListingError(error.log) from None


async def _tools(conversation: Conversation) -> list[Json]:
    tools = await entries(conversation, "tools/list", "tools")
    return [tool for tool in tools if isinstance(tool, dict) and isinstance(tool.get("name"), str)]
