"""The way to the backend when it speaks TLS: who is trusted, who is shown, and what a refusal means for a call."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from sidecar.config.settings.settings import BackendTls
from sidecar.config.tls_files import read_credentials
from sidecar.errors import ErrorCode
from sidecar.outcome import Event
from sidecar.proxy.backend.pool import BackendPool, Outgoing, UpstreamError
from tests.support import backend as scripted
from tests.support.backend import Backend
from tests.support.certificates import Authority, Pair, refusing

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def trusting(authority: Authority, mine: Pair | None = None) -> ssl.SSLContext:
    """The context that a config with these files makes."""
    own = {} if mine is None else {"cert": mine.cert, "key": mine.key}
    return read_credentials(BackendTls(ca=authority.cert, **own)).context


def call() -> Outgoing:
    return Outgoing("POST", [("Content-Type", "application/json")], b'{"jsonrpc":"2.0","id":1,"method":"ping"}')


async def body_of(upstream: BackendPool) -> bytes:
    return await (await upstream.send(call())).read(1 << 20)


async def failure(upstream: BackendPool) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await body_of(upstream)
    return caught.value


async def refusal(upstream: BackendPool) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await upstream.probe()
    return caught.value


@pytest.mark.parametrize("version", VERSIONS)
async def test_certificates_on_both_sides(authority: Authority, pair: Pair, mine: Pair, version: ssl.TLSVersion):
    there = authority.server(pair, ask=True)
    there.maximum_version = version
    async with Backend(tls=there) as backend:
        upstream = BackendPool(backend.url, tls=trusting(authority, mine))
        await upstream.probe()
        assert upstream.connected
        for _ in range(2):
            assert await body_of(upstream)
        assert backend.connections == 2, "one for the probe, and one for both calls"
        upstream.close()


async def test_an_unknown_authority_is_not_spoken_to(authority: Authority, pair: Pair, tmp_path: Path):
    async with Backend(tls=authority.server(pair)) as backend:
        for context in (trusting(Authority(tmp_path, "other")), ssl.create_default_context()):
            upstream = BackendPool(backend.url, tls=context)
            for error in (await failure(upstream), await refusal(upstream)):
                assert (error.event, error.code) == (Event.NOT_SENT, ErrorCode.BACKEND_UNAVAILABLE)
                assert "certificate is not trusted (unable to get local issuer certificate)" in error.log
            assert not upstream.connected
        assert backend.received == []


async def test_another_name_is_not_spoken_to(authority: Authority):
    async with Backend(tls=authority.server(authority.issue("elsewhere", alternatives=()))) as backend:
        upstream = BackendPool(backend.url, tls=trusting(authority))
        assert "not valid for '127.0.0.1'" in (await failure(upstream)).log
        assert backend.received == []


async def test_an_expired_certificate_is_not_spoken_to(authority: Authority):
    async with Backend(tls=authority.server(authority.issue("old", begins=-9, days=-1))) as backend:
        upstream = BackendPool(backend.url, tls=trusting(authority))
        assert "certificate has expired" in (await failure(upstream)).log


async def test_a_backend_without_tls_is_not_spoken_to(authority: Authority):
    async with Backend() as backend:
        upstream = BackendPool(backend.url.replace("http:", "https:"), tls=trusting(authority))
        with pytest.raises(UpstreamError) as caught:
            await upstream.send(call())
        assert caught.value.event is Event.NOT_SENT
        backend.faults.clear()  # what it read was no HTTP


def test_tls_is_never_left_out_nor_left_over(authority: Authority):
    with pytest.raises(ValueError, match="needs a TLS context"):
        BackendPool("https://127.0.0.1/")
    with pytest.raises(ValueError, match="no other takes one"):
        BackendPool("http://127.0.0.1/", tls=trusting(authority))


# --- backends that refuse this client ------------------------------------------------------------


def strangers(authority: Authority, folder: Path) -> list[tuple[Pair | None, str]]:
    """Certificates that a server of this authority refuses, and what it says of them."""
    other = Authority(folder, "other")
    return [
        (None, "certificate required"),
        (other.issue("stranger", alternatives=()), "unknown ca"),
        (authority.issue("old", alternatives=(), begins=-9, days=-1), "certificate expired"),
    ]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_refused_client_has_sent_nothing(
    authority: Authority, pair: Pair, tmp_path: Path, version: ssl.TLSVersion
):
    there = authority.server(pair, ask=True)
    there.maximum_version = version
    for mine, words in strangers(authority, tmp_path):
        with refusing(there) as url:
            upstream = BackendPool(url, tls=trusting(authority, mine))
            for error in (await failure(upstream), await refusal(upstream)):
                assert (error.event, error.code) == (Event.NOT_SENT, ErrorCode.BACKEND_UNAVAILABLE)
                # TLS 1.2 has no words of its own for a certificate that is missing.
                assert words in error.log or "handshake failure" in error.log
            assert not upstream.connected


async def test_tls_that_breaks_after_an_answer_leaves_the_outcome_unknown(authority: Authority, pair: Pair):
    async with Backend(tls=authority.server(pair)) as backend:
        upstream = BackendPool(backend.url, tls=trusting(authority))
        assert await body_of(upstream)
        backend.once(scripted.reset())
        assert (await failure(upstream)).event is Event.BACKEND_GONE
        assert backend.connections == 1


# --- renewal -------------------------------------------------------------------------------------


async def test_other_certificates_are_shown_from_the_next_connection_on(authority: Authority, pair: Pair, mine: Pair):
    next_one = authority.issue("next", alternatives=())
    seen: list[str] = []

    async def look(turn: scripted.Turn) -> None:
        shown = turn.writer.get_extra_info("peercert")
        seen.append(dict(item[0] for item in shown["subject"])["commonName"])
        await turn.result({})

    async with Backend(tls=authority.server(pair, ask=True)) as backend:
        backend.on("ping", look)
        upstream = BackendPool(backend.url, tls=trusting(authority, mine))
        await body_of(upstream)
        assert upstream.idle == 1
        upstream.set_tls(trusting(authority, next_one))
        assert upstream.idle == 0
        await body_of(upstream)
        await body_of(upstream)
        assert seen == ["sidecar", "next", "next"]
        assert backend.connections == 2
        upstream.close()


async def test_an_exchange_ends_on_the_connection_it_began_on(authority: Authority, pair: Pair):
    gate = asyncio.Event()
    async with Backend(tls=authority.server(pair)) as backend:
        backend.once(scripted.after(gate, scripted.default()))
        upstream = BackendPool(backend.url, tls=trusting(authority))
        running = asyncio.create_task(body_of(upstream))
        async with asyncio.timeout(60):
            while not backend.received:  # noqa: ASYNC110 - it happens on the other side of a socket
                await asyncio.sleep(0.005)
        upstream.set_tls(trusting(authority))
        gate.set()
        assert await running
        assert upstream.idle == 0, "a connection of the old certificate is not used again"
        await body_of(upstream)
        assert backend.connections == 2
        upstream.close()


async def test_other_headers_are_sent_from_the_next_request_on():
    async with Backend() as backend:
        upstream = BackendPool(backend.url, headers=[("X-Api-Key", "one")])
        await body_of(upstream)
        upstream.set_headers([("X-Api-Key", "two"), ("Authorization", "Basic eDp5")])
        await body_of(upstream)
        first, second = backend.received
        assert (first.header("x-api-key"), first.header("authorization")) == ("one", None)
        assert (second.header("x-api-key"), second.header("authorization")) == ("two", "Basic eDp5")
        with pytest.raises(ValueError, match="line break"):
            upstream.set_headers([("X-Api-Key", "a\r\nb")])
        upstream.close()
