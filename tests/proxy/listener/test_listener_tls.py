"""A whole sidecar that speaks TLS to its clients: who reaches it, and certificates that change while it runs."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from sidecar.workbench.loading import load
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.certificates import Authority, Pair, replace
from tests.support.processes import house, wait_for
from tests.support.rig import LEGACY, Json, Rig
from tests.support.store import StoreServer, rest, until

CANARY = "sesame-canary-7Q9"


@pytest.fixture
async def rig(launch: Launch, authority: Authority, pair: Pair) -> Rig:
    return await launch(tls=(pair.files, authority.client()))


async def shown(rig: Rig, context: ssl.SSLContext) -> int:
    """The serial number of the certificate that a new connection is shown."""
    address = rig.sidecar.addresses["listen"]
    return await presented(address.host, address.port, context)


async def presented(host: str, port: int, context: ssl.SSLContext) -> int:
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(der).serial_number


async def until_shown(rig: Rig, context: ssl.SSLContext, pair: Pair) -> None:
    async with asyncio.timeout(60):
        while await shown(rig, context) != pair.serial:
            await rest()


def events(rig: Rig, name: str) -> list[Json]:
    return [line for line in rig.log if line["event"] == name]


def reconfigure(rig: Rig, **changes: Any) -> None:
    rig.config.write_text(json.dumps({**json.loads(rig.config.read_text()), **changes}))


def listening(rig: Rig, tls: Json | None) -> Json:
    address = str(rig.sidecar.addresses["listen"])
    return {"listen": {"address": address, "tls": tls} if tls else address}


# --- who reaches it ------------------------------------------------------------------------------


async def test_clients_reach_it_by_tls(rig: Rig):
    assert rig.url.startswith("https://")
    assert (await rig.call("list_taxonomy")).status == 200
    metadata = rig.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    assert (await rig.request("GET", metadata)).json["resource"] == rig.url
    challenged = await rig.call("list_taxonomy", token=None)
    assert f'resource_metadata="{metadata}"' in challenged.headers["WWW-Authenticate"]


async def test_the_admin_listener_stays_plain(rig: Rig, pair: Pair):
    assert rig.admin.startswith("http://")
    assert (await rig.ready())[0] == 200
    ends = await rig.metric('mcp_sidecar_certificate_expiry_timestamp_seconds{side="listen"}')
    assert ends == pair.ends


async def test_a_client_that_leaves_is_noticed(rig: Rig):
    async def begin(turn: scripted.Turn) -> None:
        await turn.open_stream()
        await turn.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})
        await turn.hang_up()

    rig.backend.once(begin)
    async with rig.stream("list_taxonomy") as stream:
        assert await stream.message()
    await until(lambda: len(rig.backend.hang_ups) == 1)
    assert (await rig.recorded())[0]["code"] == "client_gone"


async def test_a_large_answer_arrives_whole(rig: Rig):
    rig.backend.once(scripted.result({"content": [], "structuredContent": {"x": "x" * (8 << 20)}}))
    reply = await rig.call("list_taxonomy")
    assert len(reply.json["result"]["structuredContent"]["x"]) == 8 << 20


async def test_plain_http_is_not_answered(rig: Rig, capfd: pytest.CaptureFixture[str]):
    head = f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {CANARY}\r\nContent-Length: 2\r\n\r\n"
    assert b"HTTP/" not in await rig.raw(head.encode() + b"{}")
    assert (await rig.call("list_taxonomy")).status == 200
    assert len(rig.backend.received) == 1
    assert len(await rig.recorded()) == 1
    assert CANARY not in rig.lines.read_text() + str(capfd.readouterr())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_tls_is_refused(rig: Rig, authority: Authority):
    client = authority.client()
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await shown(rig, client)


async def test_a_resource_may_be_https_where_tls_ends_before(launch: Launch):
    rig = await launch(resource="https://mcp.example.com/mcp", hosts=["127.0.0.1"])
    assert (await rig.call("list_taxonomy", token=rig.issuer.mint(aud="https://mcp.example.com/mcp"))).status == 200


# --- certificates that change --------------------------------------------------------------------


async def test_a_reload_renews_the_certificate_while_a_stream_goes_on(rig: Rig, authority: Authority, pair: Pair):
    client = authority.client()
    first, other = pair.serial, authority.issue("other")
    gate = asyncio.Event()

    async def slow(turn: scripted.Turn) -> None:
        await turn.open_stream()
        await turn.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})
        await gate.wait()
        await turn.event(turn.response({"result": scripted.tool_result({"late": True})}))
        await turn.end_stream()

    rig.backend.once(slow)
    async with rig.stream("list_taxonomy", revision=LEGACY) as stream:
        assert (await stream.message() or {})["method"] == "notifications/message"
        assert await shown(rig, client) == first
        pair.become(other)
        assert await rig.sidecar.reload()
        assert await shown(rig, client) == pair.serial != first
        gate.set()
        assert (await stream.message() or {})["result"]["structuredContent"] == {"late": True}
    assert await rig.metric('mcp_sidecar_certificate_expiry_timestamp_seconds{side="listen"}') == pair.ends


async def test_a_process_renews_on_sighup(tmp_path: Path, store_server: StoreServer, authority: Authority, pair: Pair):
    client = authority.client()
    listen = {"address": "127.0.0.1:0", "tls": pair.files}
    async with house(tmp_path, store_server.url, listen=listen) as built:
        sidecar = await built.start()
        host, _, port = sidecar.events("listening")[0]["listen"].rpartition(":")
        first = await presented(host, int(port), client)
        pair.become(authority.issue("other"))
        sidecar.signal(signal.SIGHUP)
        await wait_for(lambda: bool(sidecar.events("reloaded")))
        assert await presented(host, int(port), client) == pair.serial != first
        sidecar.terminate()
        assert await sidecar.ended() == 0


async def test_a_renewed_certificate_is_noticed(rig: Rig, authority: Authority, pair: Pair):
    client = authority.client()
    pair.become(authority.issue("other", days=30))
    await until_shown(rig, client, pair)
    line = events(rig, "certificate_renewed")[0]
    assert (line["level"], line["side"]) == ("info", "listen")
    assert datetime.fromisoformat(line["ends"]).timestamp() == pair.ends
    assert await rig.metric('mcp_sidecar_certificate_expiry_timestamp_seconds{side="listen"}') == pair.ends
    assert not events(rig, "reloaded")


async def test_a_broken_pair_keeps_the_old_one(rig: Rig, authority: Authority, pair: Pair):
    """Takes as long as two looks at the files."""
    client = authority.client()
    first, other = pair.serial, authority.issue("other")
    good = pair.key.read_bytes()
    replace(pair.key, other.key.read_bytes())
    await until(lambda: bool(events(rig, "certificate_rejected")), within=60)
    (line,) = events(rig, "certificate_rejected")
    assert (line["level"], line["side"], line["file"]) == ("error", "listen", str(pair.key))
    assert line["problem"] == "key: it does not match the certificate in `cert`"
    assert await rig.metric("mcp_sidecar_files_valid") == 0
    assert await rig.metric("mcp_sidecar_last_reload_success") == 1
    assert await shown(rig, client) == first
    assert (await rig.call("list_taxonomy")).status == 200

    assert not await rig.sidecar.reload()
    (refused,) = events(rig, "reload_failed")
    assert refused["problem"].startswith(f"{rig.config}:1:")
    assert "listen.tls.key: it does not match the certificate" in refused["problem"]
    assert await shown(rig, client) == first

    replace(pair.key, good)
    assert await rig.sidecar.reload()
    assert await rig.metric("mcp_sidecar_files_valid") == 1
    secret = [line for file in (good, other.key.read_bytes()) for line in file.decode().splitlines()[1:-1]]
    assert not [each for each in secret if each in rig.lines.read_text()]


async def test_a_reload_may_name_other_files(rig: Rig, authority: Authority):
    client = authority.client()
    other = authority.issue("other")
    reconfigure(rig, **listening(rig, other.files))
    assert await rig.sidecar.reload()
    assert await shown(rig, client) == other.serial
    renewed = authority.issue("renewed")
    other.become(renewed)
    await until_shown(rig, client, renewed)


async def test_tls_is_not_switched_on_or_off_by_a_reload(rig: Rig, authority: Authority):
    reconfigure(rig, **listening(rig, None))
    assert not await rig.sidecar.reload()
    assert "changing listen needs a restart" in events(rig, "reload_failed")[0]["problem"]
    assert await shown(rig, authority.client())


async def test_an_expired_certificate_is_served_and_logged(launch: Launch, authority: Authority):
    old = authority.issue("old", begins=-9, days=-1)
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    rig = await launch(tls=(old.files, blind))
    assert (await rig.call("list_taxonomy")).status == 200
    (line,) = events(rig, "certificate_outside_validity")
    assert (line["level"], line["side"]) == ("warning", "listen")
    assert line["problem"].startswith("the certificate has expired, on ")
    assert [notice.text for notice in load(rig.config).tls.notices] == [f"listen.tls.cert: {line['problem']}"]
