"""A person confirms a call in the official clients, of both eras: Python and TypeScript SDKs, and FastMCP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp.client.session import ClientRequestContext
from mcp_types import CallToolResult, ElicitRequestFormParams, ElicitRequestParams, ElicitRequestURLParams, ElicitResult

from demo.backend import Backend, serving
from sidecar.store.approval_store import ApprovalStore
from tests.clients.driven import DRIVERS, driven
from tests.clients.driven import code_of as driven_code
from tests.clients.python_client import both_eras, code_of, connected, text_of
from tests.clients.support import HERE
from tests.support.pypi import FASTMCP, program
from tests.support.rig import MODERN, Json, Rig, rig
from tests.support.store import StoreServer

POLICY = Path(__file__).parents[2] / "policies" / "storeinspect.yaml"
CONFIRM: Json = {"by": "person", "title": "Reveal contacts", "message": "Reveal {contact_ids}?"}
REVEAL: Json = {"contact_ids": ["c1", "c2"]}
QUESTION = 'Reveal contacts: Reveal "c1", "c2"?\nIt costs 2 of your 5 contact credits.'
ANSWERS = {"accept": None, "decline": "confirmation_declined", "cancel": "confirmation_declined"}
every_answer = pytest.mark.parametrize(("action", "code"), ANSWERS.items())


@asynccontextmanager
async def confirmed_by(confirm: Json, folder: Path, server: StoreServer) -> AsyncIterator[Rig]:
    """The store-intelligence server of the demo, where contacts are revealed after a confirmation."""
    policy = yaml.safe_load(POLICY.read_text())
    del policy["tests"]
    policy["plans"]["shop"] = {}  # its contacts all come from the balance
    policy["tools"]["reveal_contacts"]["confirm"] = confirm
    options = {"policy": policy, "account_page": {"client_id": "page"}}
    async with serving(Backend()) as url, rig(folder, server, backend_url=url, **options) as made:
        await made.account(plan="shop", credits=5)
        await made.grant()
        yield made


@pytest.fixture
async def built(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Rig]:
    async with confirmed_by(CONFIRM, tmp_path, store_server) as made:
        yield made


@pytest.fixture
async def paged(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Rig]:
    async with confirmed_by({**CONFIRM, "by": "page"}, tmp_path, store_server) as made:
        yield made


async def visit(built: Rig, *, accepts: bool) -> str:
    """Answer the pending question as its page does; the address that its client opens."""
    kept = ApprovalStore(built.sidecar.store)
    async with asyncio.timeout(60):
        while True:
            for each in await kept.pending("main", "ada"):
                await kept.answer("main", "ada", each.handle, "ada", accepted=accepts)
                return f"{built.url.removesuffix('/mcp')}/account/confirm/{each.handle}"
            await asyncio.sleep(0.01)


async def check(built: Rig, code: str | None) -> None:
    """The account has paid for a call that was accepted, and for no other."""
    assert (await built.books()).left() == (3 if code is None else 5)
    line = await built.line(tool="reveal_contacts", code=code or "ok")
    assert line["http_status"] == 200


@both_eras
@every_answer
async def test_the_python_client_asks_its_user(built: Rig, mode: str, action: Any, code: str | None):
    asked: list[str] = []

    async def answer(_: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        asked.append(params.message)
        return ElicitResult(action=action, content={} if action == "accept" else None)

    async with connected(built, mode, elicitation_callback=answer) as client:
        result = await client.call_tool("reveal_contacts", REVEAL)
        assert isinstance(result, CallToolResult)
        assert asked == [QUESTION]
        assert (code_of(result) if result.is_error else None) == code
        assert not (await client.call_tool("list_taxonomy")).is_error
    await check(built, code)


@both_eras
async def test_a_python_client_without_a_user_reads_why(built: Rig, mode: str):
    async with connected(built, mode) as client:
        result = await client.call_tool("reveal_contacts", REVEAL)
        assert code_of(result) == "confirmation_unavailable"
    await check(built, "confirmation_unavailable")


@both_eras
async def test_several_calls_ask_at_once(built: Rig, mode: str):
    both, texts = asyncio.Event(), set()

    async def answer(_: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        texts.add(params.message.partition("?")[0])
        if len(texts) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 30)
        return ElicitResult(action="accept" if '"c1"' in params.message else "decline", content={})

    async with connected(built, mode, elicitation_callback=answer) as client:
        one, other = await asyncio.gather(
            *(client.call_tool("reveal_contacts", {"contact_ids": [each]}) for each in ("c1", "c2"))
        )
    assert (one.is_error, code_of(other)) == (False, "confirmation_declined")
    assert (await built.books()).left() == 4


@pytest.mark.node
@every_answer
@pytest.mark.parametrize("kind", DRIVERS)
async def test_the_typescript_clients_ask_their_user(built: Rig, kind: str, action: str, code: str | None):
    elicits = {"capability": {}, "action": action}
    async with driven(kind, built.url, token=built.issuer.mint(), elicits=elicits) as client:
        await client.connect()
        result = await client.call("reveal_contacts", REVEAL)
        assert [each["message"] for each in await client.questions()] == [QUESTION]
        assert (driven_code(result) if result.get("isError") else None) == code
        assert not (await client.call("list_taxonomy")).get("isError")
    await check(built, code)


@both_eras
@pytest.mark.parametrize("accepts", [True, False])
async def test_the_python_client_opens_the_page(paged: Rig, mode: str, accepts: bool):
    opened: list[str] = []

    async def answer(_: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestURLParams)
        assert params.message == QUESTION
        opened.append(params.url)
        return ElicitResult(action="accept")

    async with connected(paged, mode, elicitation_callback=answer) as client:
        calling = asyncio.create_task(client.call_tool("reveal_contacts", REVEAL))
        address = await visit(paged, accepts=accepts)
        result = await calling
        assert opened == [address]
        assert (code_of(result) if result.is_error else None) == (None if accepts else "confirmation_declined")
    assert (await paged.books()).left() == (3 if accepts else 5)


@pytest.mark.node
@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("kind", DRIVERS)
async def test_the_typescript_clients_open_the_page(paged: Rig, kind: str, accepts: bool):
    elicits = {"capability": {"url": {}}, "action": "accept"}
    async with driven(kind, paged.url, token=paged.issuer.mint(), elicits=elicits) as client:
        await client.connect()
        calling = asyncio.create_task(client.call("reveal_contacts", REVEAL))
        address = await visit(paged, accepts=accepts)
        result = await calling
        assert [each["url"] for each in await client.questions()] == [address]
        assert (driven_code(result) if result.get("isError") else None) == (
            None if accepts else "confirmation_declined"
        )
    assert (await paged.books()).left() == (3 if accepts else 5)


@both_eras
async def test_a_client_without_a_user_reads_the_page_s_address_and_repeats_the_call(paged: Rig, mode: str):
    async with connected(paged, mode) as client:
        first = await client.call_tool("reveal_contacts", REVEAL)
        assert code_of(first) == "confirmation_required"
        assert await visit(paged, accepts=True) in text_of(first)
        assert not (await client.call_tool("reveal_contacts", REVEAL)).is_error
        assert code_of(await client.call_tool("reveal_contacts", REVEAL)) == "confirmation_required"
    assert (await paged.books()).left() == 3


@pytest.mark.pypi(FASTMCP)
@every_answer
@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_fastmcp_asks_its_user(built: Rig, mode: str, action: str, code: str | None):
    script = HERE / "drivers" / "fastmcp_person.py"
    words = (built.url, built.issuer.mint(), mode, action, "reveal_contacts", json.dumps(REVEAL))
    process = await asyncio.create_subprocess_exec(
        program(FASTMCP, "python"), script, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    printed = json.loads(output)
    assert (printed["questions"], printed["code"], printed["error"]) == ([QUESTION], code, code is not None)
    await check(built, code)
