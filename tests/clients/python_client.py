"""The official Python client, unmodified, with a token in its headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.rig import REFUSAL, Rig

ERAS = ["legacy", "2026-07-28", "auto"]
both_eras = pytest.mark.parametrize("mode", ERAS)
legacy = pytest.mark.parametrize("mode", ["legacy"])


@asynccontextmanager
async def connected(
    built: Rig, mode: str, *, claims: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Client]:
    """The client, with a token in its headers and nothing else of ours."""
    async with (
        httpx2.AsyncClient(headers=built.issuer.bearer(**(claims or {})), timeout=30) as http,
        Client(streamable_http_client(built.url, http_client=http), mode=mode, **options) as client,
    ):
        yield client


def text_of(result: types.CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, types.TextContent)
    return content.text


def code_of(result: types.CallToolResult) -> str:
    """Code of the sidecar's refusal."""
    assert result.is_error
    assert result.meta is not None
    return str(result.meta[REFUSAL]["code"])
