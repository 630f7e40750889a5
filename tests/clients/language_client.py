"""A client of the Language Server Protocol over stdio: an editor, as far as completion, hover and diagnostics go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.node import package, started

Json = dict[str, Any]

SERVER = ("yaml-language-server", "bin", "yaml-language-server")
# No catalogue of schemas from the network: the first line of a file names its schema.
YAML = {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}


class Editor:
    """An open connection to a language server; requests are answered in order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self._last = 0

    async def start(self, folder: Path) -> None:
        """Open a folder."""
        capabilities = {
            "workspace": {"configuration": True},
            "textDocument": {"hover": {"contentFormat": ["markdown"]}, "publishDiagnostics": {}},
        }
        await self.request("initialize", {"rootUri": folder.as_uri(), "capabilities": capabilities, "processId": None})
        await self._send({"method": "initialized", "params": {}})

    async def open(self, file: Path, text: str) -> list[Json]:
        """Open a file with a text; return its diagnostics."""
        document = {"uri": file.as_uri(), "languageId": "yaml", "version": 1, "text": text}
        await self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        while True:
            message = await self._read()
            params = message.get("params", {})
            if message.get("method") == "textDocument/publishDiagnostics" and params["uri"] == file.as_uri():
                return list(params["diagnostics"])

    async def complete(self, file: Path, line: int, column: int) -> dict[str, str]:
        """Return the offered labels at a place, counted from 0, with their documentation."""
        answer = await self.request("textDocument/completion", _at(file, line, column))
        items = answer["items"] if isinstance(answer, dict) else answer or []
        return {each["label"]: _text(each.get("documentation", "")) for each in items}

    async def hover(self, file: Path, line: int, column: int) -> str:
        """Return the text that is shown at a place."""
        answer = await self.request("textDocument/hover", _at(file, line, column))
        return "" if answer is None else _text(answer["contents"])

    async def request(self, method: str, params: Json) -> Any:
        """Send a request and return its result."""
        self._last += 1
        number = self._last
        await self._send({"id": number, "method": method, "params": params})
        while True:
            message = await self._read()
            if message.get("id") == number and "method" not in message:
                assert "error" not in message, message
                return message["result"]

    async def _read(self) -> Json:
        """Return the next message; answer the server's own requests."""
        length = 0
        while line := (await self._output.readline()).strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        assert length, "the language server has ended"
        message: Json = json.loads(await self._output.readexactly(length))
        if "id" in message and "method" in message:
            items = message.get("params", {}).get("items", [])
            result = [YAML if each.get("section") == "yaml" else None for each in items]
            await self._send({"id": message["id"], "result": result or None})
        return message

    async def _send(self, message: Json) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._input.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        await self._input.drain()


@asynccontextmanager
async def editor(folder: Path) -> AsyncIterator[Editor]:
    """Open a folder with yaml-language-server."""
    async with started(package(*SERVER), "--stdio", cwd=folder, stdin=asyncio.subprocess.PIPE) as process:
        opened = Editor(process)
        await opened.start(folder)
        yield opened


def _at(file: Path, line: int, column: int) -> Json:
    return {"textDocument": {"uri": file.as_uri()}, "position": {"line": line, "character": column}}


def _text(content: Any) -> str:
    return content if isinstance(content, str) else str(content.get("value", ""))
