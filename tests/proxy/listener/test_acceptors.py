"""Several addresses of one listener, IPv4 and IPv6 at once, with TLS and without."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from sidecar.config.settings.addresses import Address
from sidecar.proxy.listener.accepting.binding import bind
from sidecar.system.resolver import AddressInfo, Resolver
from tests.support.certificates import Authority
from tests.support.rig import Json, Rig, rig
from tests.support.store import StoreServer, free_port

POLICY: Json = {"scopes": {}, "tools": {"search_shopify_stores": {"scopes": []}}}


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def both(host: str, port: int) -> list[AddressInfo]:
    """A name with an address of each family."""
    kinds = ((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0)))
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place) for family, place in kinds]


NAMES = Resolver(both)
pytestmark = pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6 here")


async def reaches(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.transport.abort()
    return True


@pytest.mark.parametrize(
    ("hosts", "reached"),
    [
        (["127.0.0.1"], (True, False)),
        (["::1"], (False, True)),
        (["0.0.0.0"], (True, False)),
        (["::"], (True, True)),
        (["0.0.0.0", "::"], (True, True)),
        (["127.0.0.1", "::"], (True, True)),
        (["both.test"], (True, True)),
    ],
)
async def test_which_clients_an_address_takes(hosts: list[str], reached: tuple[bool, bool]):
    port = free_port()
    doors = await bind([Address(host, port) for host in hosts], [None] * len(hosts), NAMES)
    try:
        assert (await reaches("127.0.0.1", port), await reaches("::1", port)) == reached
        assert [door.address for door in doors] == [Address(host, port) for host in hosts]
    finally:
        for door in doors:
            door.close()


async def test_port_0_is_one_port_for_all_addresses_of_a_name():
    [door] = await bind([Address("both.test", 0)], [None], NAMES)
    try:
        assert {each.getsockname()[1] for each in door.sockets} == {door.address.port}
        assert len(door.sockets) == 2
    finally:
        door.close()


async def test_an_address_that_is_taken_leaves_none_open():
    port, other = free_port(), free_port()
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{port}: address already in use"):
            await bind([Address("127.0.0.1", other), Address("127.0.0.1", port)], [None, None])
        assert not await reaches("127.0.0.1", other)


async def resource(running: Rig, url: str, tls: ssl.SSLContext | None = None) -> int:
    headers = {"Host": running.url.split("/")[2]}
    path = "/.well-known/oauth-protected-resource/mcp"
    async with aiohttp.ClientSession() as http, http.get(url + path, headers=headers, ssl=tls or True) as answer:
        return answer.status


async def test_both_listeners_take_lists(tmp_path: Path, store_server: StoreServer):
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    plain, tls, admin = free_port(), free_port(), free_port()
    listen = [f"127.0.0.1:{plain}", {"address": f"[::1]:{tls}", "tls": pair.files}]
    admins = [f"127.0.0.1:{admin}", f"[::1]:{admin}"]
    async with rig(tmp_path, store_server, policy=POLICY, listen=listen, admin=admins) as running:
        assert await resource(running, f"http://127.0.0.1:{plain}") == 200
        trusting = authority.client()
        trusting.check_hostname = False
        assert await resource(running, f"https://[::1]:{tls}", trusting) == 200
        assert not await reaches("127.0.0.1", tls)
        for host in ("127.0.0.1", "[::1]"):
            async with running.http.get(f"http://{host}:{admin}/healthz") as answer:
                assert answer.status == 200
        [line] = [line for line in running.log if line["event"] == "listening"]
        assert line["listen"] == f"127.0.0.1:{plain}, [::1]:{tls}"
        assert line["admin"] == f"127.0.0.1:{admin}, [::1]:{admin}"
        assert await running.metric('mcp_sidecar_certificate_expiry_timestamp_seconds{side="listen[1]"}') is not None
        await refuses_one_more(running)
    for port in (plain, tls, admin):
        assert not await reaches("127.0.0.1", port)


async def refuses_one_more(running: Rig) -> None:
    """One more address needs a restart."""
    made = json.loads(running.config.read_text())
    made["listen"].append(f"127.0.0.1:{free_port()}")
    running.config.write_text(json.dumps(made))
    assert not await running.sidecar.reload()
