"""mcp-policy-sidecar: an OAuth 2.1 resource server, policy gate and meter in front of one MCP server."""

__version__ = "0.1.0"
