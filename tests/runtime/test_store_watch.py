"""A warning about the store is logged once when it begins and once when it is over; also over TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

from sidecar.cli import main
from sidecar.runtime.watches.store_watch import check_forever
from sidecar.store.health.durability import DurabilityRisk
from tests.proxy.support import Launch, contacts
from tests.support.certificates import Authority
from tests.support.rig import Json, Rig, until_ready
from tests.support.store import FaultProxy, StoreServer, until
from tests.support.tls_store import TlsProxy


def events(rig: Rig, name: str) -> list[Json]:
    return [line for line in rig.log if line["event"] == name]


async def gauges(rig: Rig) -> set[str]:
    """The warnings that are on; every one has a series, for alerts on what never was."""
    values = {
        risk: await rig.metric(f'mcp_sidecar_store_warnings{{warning="{risk.value}"}}') for risk in DurabilityRisk
    }
    assert set(values.values()) <= {0, 1}
    return {risk.value for risk, value in values.items() if value}


async def reconnect(rig: Rig, proxy: FaultProxy) -> None:
    proxy.cut()
    await until(lambda: not rig.sidecar.store.up)
    await until(lambda: rig.sidecar.store.up)


async def test_a_durable_store_is_not_warned_about(own_server: StoreServer, bare: Launch):
    rig = await bare(server=own_server)
    assert events(rig, "store_warning") == []
    assert await gauges(rig) == set()


async def test_a_warning_is_logged_once_until_it_changes_or_is_over(
    own_server: StoreServer, fault_proxy: FaultProxy, bare: Launch
):
    with own_server.client() as client:
        client.config_set("appendfsync", "everysec")
        rig = await bare(server=own_server, store_url=fault_proxy.url)
        [line] = events(rig, "store_warning")
        assert (line["level"], line["warning"]) == ("warning", "late_fsync")
        assert line["problem"].endswith("Set appendfsync always and no-appendfsync-on-rewrite no")
        assert await gauges(rig) == {"late_fsync"}
        await reconnect(rig, fault_proxy)
        assert len(events(rig, "store_warning")) == 1
        client.config_set("appendfsync", "no")
        client.config_set("maxmemory-policy", "volatile-lru")
        await reconnect(rig, fault_proxy)
        assert [line["warning"] for line in events(rig, "store_warning")] == ["late_fsync", "eviction", "late_fsync"]
        assert events(rig, "store_warning_cleared") == []
        assert await gauges(rig) == {"late_fsync", "eviction"}
        client.config_set("appendfsync", "always")
        await reconnect(rig, fault_proxy)
        assert [line["warning"] for line in events(rig, "store_warning_cleared")] == ["late_fsync"]
        assert await gauges(rig) == {"eviction"}
        client.config_set("appendfsync", "no")
        await reconnect(rig, fault_proxy)
        assert [line["warning"] for line in events(rig, "store_warning")][3:] == ["late_fsync"]


async def test_a_store_that_begins_to_evict_is_refused_by_the_next_connection(
    own_server: StoreServer, fault_proxy: FaultProxy, bare: Launch
):
    rig = await bare(server=own_server, store_url=fault_proxy.url)
    with own_server.client() as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        fault_proxy.cut()
        await until(lambda: "noeviction" in (rig.sidecar.store.error or ""))
        status, body = await rig.ready()
        assert status == 503
        assert "set maxmemory-policy noeviction" in body["checks"]["store"]
        assert (await rig.call("list_taxonomy")).code == "store_unavailable"
        client.config_set("maxmemory-policy", "noeviction")
    await until_ready(rig)


async def test_what_changes_while_connected_is_seen_without_a_new_connection(own_server: StoreServer, bare: Launch):
    rig = await bare(server=own_server)
    looking = asyncio.create_task(check_forever(rig.sidecar.store, every=0.01))
    try:
        with own_server.client() as client:
            connections = client.info("stats")["total_connections_received"]
            client.config_set("appendfsync", "everysec")
            await until(lambda: len(events(rig, "store_warning")) == 1)
            client.config_set("appendfsync", "always")
            await until(lambda: len(events(rig, "store_warning_cleared")) == 1)
            assert client.info("stats")["total_connections_received"] == connections
            client.config_set("maxmemory", "100mb")
            client.config_set("maxmemory-policy", "allkeys-lru")
            await until(lambda: "noeviction" in (rig.sidecar.store.error or ""))
            assert (await rig.call("list_taxonomy")).code == "store_unavailable"
            client.config_set("maxmemory-policy", "noeviction")
        await until_ready(rig)
        own_server.pause()
        await until(lambda: not rig.sidecar.store.up)
        own_server.resume()
        await until(lambda: rig.sidecar.store.up)
        assert not looking.done()
    finally:
        looking.cancel()


async def test_everything_works_over_tls_and_nothing_without_it(own_server: StoreServer, bare: Launch, tmp_path: Path):
    authority = Authority(tmp_path)
    pair = authority.issue("store")
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "sidecar", "on", ">hunter2", "~*", "&*", "+@all")
    async with TlsProxy(own_server.path, authority.server(pair)) as proxy:
        url = f"rediss://sidecar:hunter2@127.0.0.1:{proxy.port}?ca={quote(str(authority.cert))}"
        rig = await bare(server=own_server, store_url=url)
        await rig.account(credits=10)
        await rig.grant()
        assert (await rig.call("reveal_contacts", contacts("a"))).status == 200
        await until(lambda: rig.sidecar.request_path.revocations.subscription_up)
        assert set(proxy.handshakes) == {"TLSv1.3"}
        # The next connection meets a certificate that none of the authorities stands for.
        authority.cert.write_bytes(Authority(tmp_path, "other").cert.read_bytes())
        proxy.cut()
        await until(lambda: "certificate is not trusted" in (rig.sidecar.store.error or ""))
        passed = proxy.passed
        reply = await rig.call("reveal_contacts", contacts("b"))
        assert (reply.status, reply.code) == (503, "store_unavailable")
        assert "not trusted" in (await rig.ready())[1]["checks"]["store"]
        assert proxy.passed == passed
    assert "hunter2" not in rig.lines.read_text()


async def test_commands_speak_tls(own_server: StoreServer, bare: Launch, tmp_path: Path):
    authority = Authority(tmp_path)
    async with TlsProxy(own_server.path, authority.server(authority.issue("store"))) as proxy:
        rig = await bare(server=own_server, store_url=f"rediss://127.0.0.1:{proxy.port}?ca=authority.pem")
        for words in (("check",), ("account", "set", "ada", "--plan", "growth", "--create")):
            assert await asyncio.to_thread(main, [*words, "--config", str(rig.config)]) == 0
    assert len(proxy.handshakes) >= 4
