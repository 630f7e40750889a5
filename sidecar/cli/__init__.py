"""The `mcp-sidecar` command."""
