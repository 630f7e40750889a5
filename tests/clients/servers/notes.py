"""FastMCP's server of two tools, as its quickstart writes one; runs in FastMCP's own environment."""

from __future__ import annotations

import sys

from fastmcp import FastMCP  # type: ignore[import-not-found]

mcp = FastMCP("notes")
NOTES = ["buy milk", "milk the cow", "sleep"]


@mcp.tool(annotations={"readOnlyHint": True})  # type: ignore[untyped-decorator]
def find_notes(query: str, limit: int = 10) -> list[str]:
    """Find notes that contain a text."""
    return [note for note in NOTES if query in note][:limit]


@mcp.tool(annotations={"destructiveHint": True})  # type: ignore[untyped-decorator]
def delete_note(text: str) -> bool:
    """Delete a note."""
    NOTES.remove(text)
    return True


if __name__ == "__main__":
    mcp.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False)
