"""The FastMCP proxy with its verifier of tokens, in an environment of its own (see fastmcp_proxy.py)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.machine import PROXY_CORE, free_port, started
from bench.material import RESOURCE, SCOPE
from bench.peers.peer import Peer, Running, Site
from bench.programs import of_pypi
from tests.support.pypi import FASTMCP as _REQUIREMENT


@contextlib.contextmanager
def _run(site: Site) -> Iterator[Running]:
    python = of_pypi(_REQUIREMENT) / "bin" / "python"
    port = free_port()
    key = site.folder / "fastmcp.pem"
    key.write_text(site.keyring.pem)
    program = Path(__file__).with_name("fastmcp_proxy.py")
    values = (str(port), site.backend_url, key, site.keyring.url, RESOURCE, SCOPE)
    with started([python, "-P", program, *values], port, core=PROXY_CORE) as one:
        yield Running(port, (one.pid,), version=_REQUIREMENT.replace("fastmcp==", "FastMCP "))


FASTMCP = Peer("fastmcp", "FastMCP proxy with JWTVerifier", "FastMCP, token", "token, scope", _run, slow=True)
