"""Serve until terminated: `python -m tests.conformance.server` prints the URL first."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
import warnings

import uvicorn
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.conformance.server.app import PATH, make_app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--attached", action="store_true", help="end when standard input does: with its parent")
    options = parser.parse_args()
    if options.attached:
        threading.Thread(target=_end_with_input, daemon=True).start()
    # The older revisions have what the newest one deprecates, and both are served.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        print(f"http://localhost:{listener.getsockname()[1]}{PATH}", flush=True)
        # h11 takes blanks off the ends of a header's value (RFC 9110 section 5.5); httptools leaves the last ones.
        config = uvicorn.Config(make_app(), log_level="error", access_log=False, http="h11", lifespan="on")
        uvicorn.Server(config).run(sockets=[listener])


def _end_with_input() -> None:
    while sys.stdin.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
