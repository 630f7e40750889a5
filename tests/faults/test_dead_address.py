"""A sidecar whose backend, store and issuer have one dead address each, as the system's name service says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.addresses import DEAD, LIVE, WAYS, dead
from tests.support.processes import house, succeeded
from tests.support.running import ports, running
from tests.support.store import StoreServer, free_port

POLICY = "scopes: {}\nconsent: first_use\ntools: {search_shopify_stores: {scopes: []}}\n"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("first", [DEAD, LIVE])
async def test_one_dead_address_is_no_outage(tmp_path: Path, way: str, first: str):
    where, port = ports(), free_port()
    hosts = tmp_path / "hosts"
    order = sorted((DEAD, LIVE), key=lambda address: address != first)
    hosts.write_text("".join(f"{address} backend.test store.test localhost\n" for address in order))
    server = StoreServer(tmp_path, options=("--port", str(port), "--bind", LIVE, "--protected-mode", "no")).start()
    try:
        async with house(
            tmp_path,
            f"redis://store.test:{port}",
            policy=POLICY,
            backend_url=lambda backend: backend.url.replace(LIVE, "backend.test"),
            backend_settings={"max_connection_age": "1ms"},
            **where,
        ) as built:
            made = yaml.safe_load(built.config.read_text())
            keys = built.issuer.jwks_uri
            made["issuers"][0]["jwks_uri"] = keys.replace(LIVE, "localhost")  # by other names over https alone
            at = int(keys.rpartition(":")[2].partition("/")[0])
            with dead(way, built.backend.port), dead(way, port), dead(way, at):
                built.config.write_text(yaml.safe_dump(made))
                log = (tmp_path / "log").open("ab")
                async with running(built, where, stdout=log, files={"/etc/hosts": hosts}) as sidecar:
                    for _ in range(10):
                        assert succeeded(await built.call(sidecar, "search_shopify_stores"))
                    assert await sidecar.stops()
    finally:
        server.close()
