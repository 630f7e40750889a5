"""A proxy as FastMCP's documentation makes it; run by the Python that has it, not by ours."""

import sys
from pathlib import Path

from fastmcp.server import create_proxy  # type: ignore[import-not-found]  # of its own environment
from fastmcp.server.auth.providers.jwt import JWTVerifier  # type: ignore[import-not-found]  # as above

port, backend, key, issuer, audience, scope = sys.argv[1:]
verifier = JWTVerifier(
    public_key=Path(key).read_text(), issuer=issuer, audience=audience, algorithm="RS256", required_scopes=[scope]
)
proxy = create_proxy(backend, name="bench", auth=verifier)
proxy.run(
    transport="http",
    host="127.0.0.1",
    port=int(port),
    path="/mcp",
    show_banner=False,
    stateless_http=True,
    json_response=True,
    log_level="error",
)
