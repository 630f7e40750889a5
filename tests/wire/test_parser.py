"""The sidecar serves only with the HTTP parser that the tables of this folder describe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.issuer import Issuer
from tests.support.rig import STORE_POLICY, config_of
from tests.support.store import StoreServer, free_port

ROOT = Path(__file__).parents[2]


def test_the_sidecar_never_serves_with_the_lenient_parser(tmp_path: Path, store_server: StoreServer):
    """aiohttp without its C extension accepts what is refused above."""
    config = tmp_path / "config.yaml"
    made = config_of(Issuer(), "http://127.0.0.1:9/mcp", store_server.url, free_port(), STORE_POLICY)
    config.write_text(json.dumps(made))
    ended = subprocess.run(
        [sys.executable, "-m", "sidecar", "serve", "--config", config],
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ended.returncode == 1
    assert "aiohttp's C extension is missing" in ended.stdout
