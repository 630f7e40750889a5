"""External parties that do not answer: a log reader, a mount, a name server. Calls, health and SIGTERM still work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.issuer import Issuer
from tests.support.nameserver import name_server
from tests.support.processes import House, house, succeeded, wait_for
from tests.support.running import Running, ports, running
from tests.support.store import StoreServer

FREE = "scopes: {}\nconsent: first_use\ntools: {search_shopify_stores: {scopes: []}}\n"


async def serves(built: House, sidecar: Running, calls: int = 1) -> None:
    """Calls succeed, and the operator is answered."""
    for _ in range(calls):
        assert succeeded(await built.call(sidecar, "search_shopify_stores"))
    async with asyncio.timeout(60), built.http.get(f"{sidecar.admin}/healthz") as answer:
        assert answer.status == 200


async def metric(built: House, sidecar: Running, name: str) -> float:
    async with built.http.get(f"{sidecar.admin}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name)


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The end of a pipe into which nothing fits any more, and which is never read."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


async def test_output_that_is_never_read_stops_nothing(tmp_path: Path, store_server: StoreServer, full_pipe: int):
    where = ports()
    async with (
        house(tmp_path, store_server.url, policy=FREE, **where) as built,
        running(built, where, stdout=full_pipe) as sidecar,
    ):
        await serves(built, sidecar, calls=30)
        sidecar.signal(signal.SIGHUP)
        await wait_for_reloads(built, sidecar)
        assert await sidecar.stops()


async def wait_for_reloads(built: House, sidecar: Running) -> None:
    before = await metric(built, sidecar, "mcp_sidecar_last_reload_timestamp_seconds")
    async with asyncio.timeout(30):
        while await metric(built, sidecar, "mcp_sidecar_last_reload_timestamp_seconds") == before:
            sidecar.signal(signal.SIGHUP)
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("stalled", ["policy.yaml", "config.yaml", "secret"])
async def test_a_file_that_is_never_delivered_stops_nothing(tmp_path: Path, store_server: StoreServer, stalled: str):
    """A pipe that is not written to stands for a mount that does not answer."""
    where = ports()
    (tmp_path / "secret").write_text("abc")
    secret = {"headers": {"X-Key": f"${{file:{tmp_path / 'secret'}}}"}}
    async with (
        house(tmp_path, store_server.url, policy=FREE, backend_settings=secret, **where) as built,
        running(built, where, stdout=(tmp_path / "log").open("ab")) as sidecar,
    ):
        path = tmp_path / stalled
        path.unlink()
        os.mkfifo(path)
        sidecar.signal(signal.SIGHUP)
        with being_read(path) as opened:
            await wait_for(opened)
            await serves(built, sidecar, calls=5)
            assert await metric(built, sidecar, "mcp_sidecar_last_reload_success") == 1
            assert await sidecar.stops()


@contextlib.contextmanager
def being_read(path: Path) -> Iterator[Callable[[], bool]]:
    """Says whether a reader has opened a pipe; holds its other end from then on, and writes nothing."""
    held: list[int] = []

    def opened() -> bool:
        with contextlib.suppress(OSError):
            held.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        return bool(held)

    yield opened
    for each in held:
        os.close(each)


async def test_a_silent_name_server_stops_nothing(tmp_path: Path, store_server: StoreServer):
    where = ports()
    async with (
        name_server(tmp_path) as (names, files),
        house(
            tmp_path,
            store_server.url,
            policy=FREE,
            backend_url=lambda backend: backend.url.replace("127.0.0.1", "backend.test"),
            backend_settings={"max_connection_age": "1ms"},
            **where,
        ) as built,
        running(built, where, stdout=(tmp_path / "log").open("ab"), files=files) as sidecar,
    ):
        await serves(built, sidecar)
        names.silent = True
        async with asyncio.timeout(30):
            while "backend.test" not in names.ignored:
                await serves(built, sidecar)
        await serves(built, sidecar, calls=3)  # on connections made since
        sidecar.signal(signal.SIGHUP)
        await wait_for_reloads(built, sidecar)
        assert await sidecar.stops()


async def test_names_that_are_never_resolved_do_not_delay_others(tmp_path: Path, store_server: StoreServer):
    """Issuers whose names are looked up for ever take neither the threads of a reload nor the end of the process."""
    where = ports()
    async with (
        name_server(tmp_path) as (names, files),
        house(tmp_path, store_server.url, policy=FREE, **where) as built,
    ):
        names.silent = True
        stalled = [{"issuer": f"https://issuer-{number}.test", "id": f"i{number}"} for number in range(12)]
        rewrite(built.config, built.issuer, stalled)
        async with running(built, where, stdout=(tmp_path / "log").open("ab"), files=files) as sidecar:
            await wait_for(lambda: len(set(names.ignored)) >= 3)
            await serves(built, sidecar, calls=3)
            await wait_for_reloads(built, sidecar)
            assert await sidecar.stops()


def rewrite(config: Path, issuer: Issuer, others: list[dict[str, str]]) -> None:
    made = yaml.safe_load(config.read_text())
    made["issuers"] = [{**made["issuers"][0], "id": "main"}, *others]
    config.write_text(yaml.safe_dump(made))
