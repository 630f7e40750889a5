"""Journals by the API: pages with a filter, and new entries as they are written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from sidecar.admin_api.event_streams import MAX_STREAMS
from tests.admin_api.support import Api, account_path, token_of
from tests.support.rig import Json


async def filled(api: Api, name: str, count: int = 30) -> None:
    """An account with so many entries of credits."""
    await api.account(name)
    for number in range(count):
        assert (await api.credits(name, ("grant", "set")[number % 2], number, f"k{number}")).status == 200


async def test_pages_go_to_the_end_in_both_orders(api: Api):
    await filled(api, "paged")
    found: dict[str, list[str]] = {"newest": [], "oldest": []}
    for order, ids in found.items():
        cursor: Json | None = {}
        while cursor is not None:
            page = (await api.ask("GET", account_path("paged", "journal"), order=order, limit=7, **cursor)).json
            assert len(page["entries"]) <= 7
            ids += [each["id"] for each in page["entries"]]
            cursor = None if page["next"] is None else {"cursor": page["next"]}
    assert found["newest"] == found["oldest"][::-1]
    assert len(set(found["oldest"])) == len(found["oldest"]) == 31


async def test_a_filter_leaves_entries_out(api: Api):
    await filled(api, "filtered", 10)
    page = (await api.ask("GET", account_path("filtered", "journal"), event="set", limit=3)).json
    assert [each["event"] for each in page["entries"]] == ["set"] * 3
    rest = (await api.ask("GET", account_path("filtered", "journal"), event="set", cursor=page["next"])).json
    assert (len(rest["entries"]), rest["next"]) == (2, None)
    assert (await api.ask("GET", account_path("filtered", "journal"), tool="none")).json["entries"] == []


@pytest.mark.parametrize("query", [{"cursor": "x"}, {"cursor": "1"}, {"order": "up"}, {"limit": "501"}, {"event": ""}])
async def test_wrong_parameters(api: Api, query: dict[str, Any]):
    assert (await api.ask("GET", account_path("x", "journal"), **query)).code == "parameter_invalid"


async def test_an_unknown_account_has_no_journal(api: Api):
    for kind in ("journal", "journal/events", "usage", "credits", "verification"):
        assert (await api.ask("GET", account_path("unknown", kind))).code == "account_unknown"


# --- following ---------------------------------------------------------------------------------------


@asynccontextmanager
async def following(
    api: Api, name: str, after: str | None = None, by: str = "all", **query: str
) -> AsyncIterator[ClientResponse]:
    headers = {"Authorization": f"Bearer {token_of(by)}"} | ({} if after is None else {"Last-Event-ID": after})
    url = f"{api.url}{account_path(name, 'journal', 'events')}"
    async with api.rig.http.get(url, headers=headers, params=query) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        assert await answer.content.readuntil(b"\n\n") == b": keepalive\n\n"
        yield answer


async def event(answer: ClientResponse) -> Json | None:
    """The next event; None when the stream has ended."""
    async with asyncio.timeout(60):
        while block := (await answer.content.readuntil(b"\n\n")).decode():
            fields = dict(line.split(": ", 1) for line in block.strip().splitlines() if not line.startswith(":"))
            if fields:
                data = json.loads(fields["data"])
                assert (fields["event"], fields["id"]) == ("entry", data["id"])
                return dict(data)
    return None


async def test_new_entries_arrive_and_are_taken_up_after_a_disconnect(api: Api):
    await filled(api, "followed", 2)
    async with following(api, "followed") as answer:
        await api.credits("followed", "grant", 5, "new")
        first = await event(answer)
    assert first is not None
    assert (first["event"], first["credit:contact"], first["by"]) == ("grant", "5", "admin:all")
    for number in range(3):
        await api.credits("followed", "grant", number, f"later-{number}")
    async with following(api, "followed", first["id"]) as answer:
        later = [await event(answer) for _ in range(3)]
    assert [each and each["credit:contact"] for each in later] == ["0", "1", "2"]


async def test_only_matching_entries_are_sent(api: Api):
    await filled(api, "matched", 1)
    async with following(api, "matched", event="set") as answer:
        await api.credits("matched", "grant", 5, "a")
        await api.credits("matched", "set", 7, "b")
        found = await event(answer)
    assert found is not None
    assert found["event"] == "set"


async def test_a_program_that_lost_its_permission_is_disconnected(api: Api, tmp_path: Path):
    await filled(api, "lost", 1)
    async with following(api, "lost", by="read") as answer:
        config = json.loads((tmp_path / "config.yaml").read_text())
        config["admin_api"]["tokens"] = [each for each in config["admin_api"]["tokens"] if each["name"] != "read"]
        (tmp_path / "config.yaml").write_text(json.dumps(config))
        assert await api.rig.sidecar.reload()
        assert await event(answer) is None


async def test_streams_are_few_and_a_place_is_free_again(api: Api):
    await filled(api, "crowded", 1)
    path = account_path("crowded", "journal", "events")
    open_ = [following(api, "crowded") for _ in range(MAX_STREAMS)]
    for each in open_:
        await each.__aenter__()
    assert (await api.ask("GET", path)).code == "overloaded"
    await open_[0].__aexit__(None, None, None)
    async with asyncio.timeout(60):
        while True:  # until the server has seen the disconnect
            try:
                async with following(api, "crowded"):
                    break
            except AssertionError:
                await asyncio.sleep(0.01)
    for each in open_[1:]:
        await each.__aexit__(None, None, None)
