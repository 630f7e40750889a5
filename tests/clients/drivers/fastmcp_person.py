"""A FastMCP client that calls one tool, and whose user answers every question in one way.

Run by FastMCP's own environment. Prints one document: the texts of the questions, and the result's code and text.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from fastmcp import Client  # type: ignore[import-not-found]
from fastmcp.client.elicitation import ElicitResult  # type: ignore[import-not-found]
from fastmcp.client.transports import StreamableHttpTransport  # type: ignore[import-not-found]


async def main(url: str, token: str, mode: str, action: str, tool: str, arguments: str) -> None:
    questions: list[str] = []

    async def answer(message: str, *_: Any) -> Any:
        questions.append(message)
        return ElicitResult(action=action)

    transport = StreamableHttpTransport(url, headers={"Authorization": f"Bearer {token}"})
    async with Client(transport, elicitation_handler=answer, mode=mode) as client:
        result = await client.call_tool(tool, json.loads(arguments), raise_on_error=False)
    code = (result.meta or {}).get("mcp-policy-sidecar/refusal", {}).get("code")
    texts = [each.text for each in result.content if each.type == "text"]
    print(json.dumps({"questions": questions, "code": code, "error": result.is_error, "texts": texts}))


asyncio.run(main(*sys.argv[1:]))
