"""Every refusal as a client sees it: status, shape, number, headers, machine detail; and which comes first."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from sidecar.config.settings.settings import Limits
from sidecar.errors import ErrorCode, Refusal
from sidecar.protocol.answers import refusal_answer
from sidecar.proxy.listener.accepting.client_server import ClientServer
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.body import read_body
from sidecar.proxy.listener.http_answers import Answer
from sidecar.proxy.memory import unbounded
from tests.proxy.support import Launch, contacts, policy
from tests.support import backend as scripted
from tests.support.rig import LEGACY, MODERN, REFUSAL, Json, Reply, Rig
from tests.support.store import FaultProxy, StoreServer, free_port, until

Ask = Callable[[Rig, str], Awaitable[Reply]]

BOTH = (MODERN, LEGACY)
TASKLESS: Json = {"name": "list_taxonomy", "arguments": {}}


@dataclass(frozen=True, slots=True)
class Case:
    """One way to meet a refusal, and what the answer must be.

    Attributes:
        shape: `problem`, `rpc`, `tool` or `challenge`.
        number: the JSON-RPC error number, for `rpc` and, where there is a request, `challenge`.
        legacy: status and number in the older revisions, where they differ.
        data: members that the machine detail must have.
        headers: headers that the answer must have, with the pattern of their value.
        launch: how the sidecar is started.
        received: how many requests the backend is expected to have got.
    """

    code: ErrorCode
    ask: Ask
    status: int
    shape: str
    number: int | None = None
    legacy: tuple[int, int] | None = None
    revisions: tuple[str, ...] = BOTH
    data: Json = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    launch: Json = field(default_factory=dict)
    received: int = 0

    def expected(self, revision: str) -> tuple[int, int | None]:
        return self.legacy if self.legacy and revision == LEGACY else (self.status, self.number)


CASES: list[Case] = []


def case(code: ErrorCode, status: int, shape: str, number: int | None = None, **rest: Any) -> Callable[[Ask], Ask]:
    def register(ask: Ask) -> Ask:
        CASES.append(Case(code, ask, status, shape, number, **rest))
        return ask

    return register


# --- gate 1: transport ---------------------------------------------------------------------------


def post_with(**headers: str | None) -> Ask:
    """A good call but for these headers."""

    async def ask(rig: Rig, revision: str) -> Reply:
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        return await rig.call("list_taxonomy", revision=revision, headers=changed)

    return ask


@case(ErrorCode.REQUEST_MALFORMED, 400, "problem")
async def no_host(rig: Rig, revision: str) -> Reply:
    raw = await rig.raw(b"POST /mcp HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split()[1]), headers, body)


case(ErrorCode.HOST_REFUSED, 403, "problem")(post_with(Host="evil.example"))
case(ErrorCode.ORIGIN_REFUSED, 403, "problem")(post_with(Origin="https://evil.example"))
case(ErrorCode.NOT_ACCEPTABLE, 406, "problem")(post_with(Accept="application/json"))
case(ErrorCode.MEDIA_TYPE_UNSUPPORTED, 415, "problem")(post_with(Content_Type="text/plain"))


@case(ErrorCode.PATH_UNKNOWN, 404, "problem")
async def other_path(rig: Rig, revision: str) -> Reply:
    return await rig.request("POST", rig.url + "/", headers=rig.request_headers({}, LEGACY, ""))


@case(ErrorCode.HTTP_METHOD_REFUSED, 405, "problem", headers={"Allow": "POST, GET, DELETE"})
async def put(rig: Rig, revision: str) -> Reply:
    return await rig.request("PUT", headers=rig.bare_headers(None, ""))


@case(ErrorCode.HTTP_METHOD_REFUSED, 405, "problem", headers={"Allow": "POST"}, revisions=(MODERN,))
async def get_without_sessions(rig: Rig, revision: str) -> Reply:
    return await rig.get(headers={"MCP-Protocol-Version": MODERN})


@case(ErrorCode.BODY_TOO_LARGE, 413, "problem", launch={"limits": {"body": "1KiB"}})
async def large_body(rig: Rig, revision: str) -> Reply:
    return await rig.call("list_taxonomy", {"padding": "x" * 1024}, revision=revision)


@case(
    ErrorCode.OVERLOADED,
    503,
    "rpc",
    5031,
    launch={"limits": {"in_flight": 1}},
    headers={"Retry-After": "1"},
    received=1,
)
async def one_too_many(rig: Rig, revision: str) -> Reply:
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.default()))
    first = asyncio.create_task(rig.call("list_taxonomy", revision=revision))
    await until(lambda: len(rig.backend.received) == 1)
    reply = await rig.call("list_taxonomy", revision=revision)
    gate.set()
    assert (await first).status == 200
    return reply


# --- gate 2: token -------------------------------------------------------------------------------


@case(
    ErrorCode.TOKEN_MISSING,
    401,
    "challenge",
    headers={"WWW-Authenticate": r'Bearer resource_metadata="[^"]+", scope="[^"]+"'},
)
async def no_token(rig: Rig, revision: str) -> Reply:
    return await rig.call("list_taxonomy", revision=revision, token=None)


INVALID = {
    "WWW-Authenticate": r'Bearer error="invalid_token", resource_metadata="[^"]+", scope="usage:read stores:read", '
    r'error_description="[^"=]+"'
}


@case(ErrorCode.TOKEN_INVALID, 401, "challenge", headers=INVALID)
async def foreign_audience(rig: Rig, revision: str) -> Reply:
    token = rig.issuer.mint(audience="https://other.example/mcp")
    return await rig.call("list_taxonomy", revision=revision, token=token)


@case(
    ErrorCode.TOKEN_INVALID,
    401,
    "challenge",
    headers={"WWW-Authenticate": INVALID["WWW-Authenticate"].replace("stores:read", "stores:read contacts:reveal")},
)
async def expired_after_a_step_up(rig: Rig, revision: str) -> Reply:
    token = rig.issuer.mint(scopes=["contacts:reveal", "openid"], age=3600, lifetime=900)
    return await rig.call("list_taxonomy", revision=revision, token=token)


def no_keys(issuer: Any) -> None:
    issuer.fault = 503


@case(
    ErrorCode.ISSUER_UNAVAILABLE,
    503,
    "problem",
    headers={"Retry-After": r"\d+"},
    launch={"prepare": no_keys, "ready": False},
)
async def issuer_down(rig: Rig, revision: str) -> Reply:
    return await rig.call("list_taxonomy", revision=revision)


# --- gate 3: message -----------------------------------------------------------------------------


@case(ErrorCode.MESSAGE_UNPARSABLE, 400, "rpc", -32700)
async def duplicate_key(rig: Rig, revision: str) -> Reply:
    message = rig.message("tools/call", TASKLESS, revision=revision)
    body = json.dumps(message).replace('"name"', '"name": "reveal_contacts", "n\\u0061me"', 1)
    return await rig.send(body.encode(), rig.request_headers(message, revision, ""))


@case(ErrorCode.MESSAGE_MALFORMED, 400, "rpc", -32600)
async def batch(rig: Rig, revision: str) -> Reply:
    message = rig.message("tools/call", TASKLESS, revision=revision)
    return await rig.send(json.dumps([message]).encode(), rig.request_headers(message, revision, ""))


@case(ErrorCode.PARAMS_MALFORMED, 400, "rpc", -32602)
async def no_name(rig: Rig, revision: str) -> Reply:
    return await rig.post("tools/call", {"arguments": {}}, revision=revision)


@case(ErrorCode.HEADER_MISMATCH, 400, "rpc", -32020, legacy=(400, -32600))
async def other_name(rig: Rig, revision: str) -> Reply:
    return await rig.call("list_taxonomy", revision=revision, headers={"Mcp-Name": "reveal_contacts"})


@case(
    ErrorCode.VERSION_UNSUPPORTED,
    400,
    "rpc",
    -32022,
    data={"requested": "2099-01-01"},
)
async def future_version(rig: Rig, revision: str) -> Reply:
    params: Json = dict(TASKLESS)
    if revision == MODERN:
        params["_meta"] = {"io.modelcontextprotocol/protocolVersion": "2099-01-01"}
    headers = {"MCP-Protocol-Version": "2099-01-01"}
    reply = await rig.post("tools/call", params, revision=revision, headers=headers)
    # A client that names the version in every request gets the revisions that do so.
    served = [MODERN] if revision == MODERN else [MODERN, LEGACY, "2025-06-18", "2025-03-26"]
    assert reply.detail["supported"] == served
    return reply


@case(
    ErrorCode.CAPABILITY_MISSING,
    400,
    "rpc",
    -32021,
    revisions=(MODERN,),
    data={"requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}},
    launch={"policy": policy(methods={"tasks/get": {"scopes": []}})},
)
async def unsaid_extension(rig: Rig, revision: str) -> Reply:
    return await rig.post("tasks/get", {"taskId": "t-1"}, revision=revision)


@case(ErrorCode.SESSION_UNKNOWN, 404, "rpc", 4041, revisions=(LEGACY,))
async def strange_session(rig: Rig, revision: str) -> Reply:
    return await rig.call("list_taxonomy", revision=revision, headers={"Mcp-Session-Id": "not-mine"})


@case(ErrorCode.TASK_UNKNOWN, 200, "rpc", -32602, launch={"policy": policy(methods={"tasks/get": {"scopes": []}})})
async def another_callers_task(rig: Rig, revision: str) -> Reply:
    capabilities: Json = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    meta = {"_meta": {"io.modelcontextprotocol/clientCapabilities": capabilities}} if revision == MODERN else {}
    return await rig.post("tasks/get", {"taskId": "t-1", **meta}, revision=revision)


# --- gate 4: policy ------------------------------------------------------------------------------


@case(ErrorCode.METHOD_NOT_ALLOWED, 404, "rpc", -32601, legacy=(200, -32601))
async def completion(rig: Rig, revision: str) -> Reply:
    return await rig.post("completion/complete", {"ref": {"type": "ref/prompt", "name": "x"}}, revision=revision)


@case(ErrorCode.METHOD_NOT_ALLOWED, 404, "rpc", -32601, revisions=(MODERN,))
async def ping_in_the_stateless_revision(rig: Rig, revision: str) -> Reply:
    return await rig.post("ping", revision=revision)


@case(ErrorCode.TOOL_UNKNOWN, 200, "rpc", -32602)
async def undeclared_tool(rig: Rig, revision: str) -> Reply:
    return await rig.call("delete_everything", revision=revision)


@case(
    ErrorCode.TOOL_CHANGED,
    200,
    "rpc",
    -32602,
    launch={"policy": policy(tools={"list_taxonomy": {"pin": f"sha256-{'0' * 64}"}})},
)
async def tool_that_differs_from_its_pin(rig: Rig, revision: str) -> Reply:
    return await rig.call("list_taxonomy", revision=revision)


@case(ErrorCode.RESOURCE_UNKNOWN, 200, "rpc", -32602, legacy=(200, -32002))
async def undeclared_resource(rig: Rig, revision: str) -> Reply:
    return await rig.post("resources/read", {"uri": "docs://taxonomy"}, revision=revision)


@case(ErrorCode.PROMPT_UNKNOWN, 200, "rpc", -32602)
async def undeclared_prompt(rig: Rig, revision: str) -> Reply:
    return await rig.post("prompts/get", {"name": "greet"}, revision=revision)


@case(
    ErrorCode.INSUFFICIENT_SCOPE,
    403,
    "challenge",
    4030,
    headers={
        "WWW-Authenticate": r'Bearer error="insufficient_scope", resource_metadata="[^"]+", '
        r'scope="contacts:reveal usage:read", error_description="[^"=]+"'
    },
)
async def scope_missing(rig: Rig, revision: str) -> Reply:
    token = rig.issuer.mint(scopes=["usage:read", "openid"])
    return await rig.call("reveal_contacts", contacts("a"), revision=revision, token=token)


@case(ErrorCode.ARGUMENTS_REFUSED, 200, "tool")
async def undeclared_argument(rig: Rig, revision: str) -> Reply:
    return await rig.call("reveal_contacts", {**contacts("a"), "force": True}, revision=revision)


@case(
    ErrorCode.CONFIRMATION_REQUIRED,
    200,
    "tool",
    data={
        "confirm": {"argument": "confirm_spend_credits"},
        "prices": [
            {"credit": "contact", "price": 2, "balance": 10},
            {"quota": "requests", "price": 1, "left": 1000, "limit": 1000, "window": "day"},
        ],
    },
)
async def unconfirmed(rig: Rig, revision: str) -> Reply:
    return await rig.call("reveal_contacts", contacts("a", "b", confirmed=False), revision=revision)


PERSON: Json = {"policy": policy(tools={"list_taxonomy": {"confirm": {"by": "person"}}})}
"""A sidecar with a tool that a person confirms."""


@case(ErrorCode.CONFIRMATION_UNAVAILABLE, 200, "tool", launch=PERSON)
async def client_that_cannot_ask(rig: Rig, revision: str) -> Reply:
    return await rig.call("list_taxonomy", revision=revision)


@case(ErrorCode.CONFIRMATION_DECLINED, 200, "tool", launch=PERSON, revisions=(MODERN,))
async def declined_by_a_person(rig: Rig, revision: str) -> Reply:
    asking: Json = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    call: Json = {"name": "list_taxonomy", "arguments": {}, "_meta": asking}
    state = (await rig.post("tools/call", call)).json["result"]["requestState"]
    answered = {"mcp-policy-sidecar/confirmation": {"action": "decline"}}
    return await rig.post("tools/call", {**call, "requestState": state, "inputResponses": answered})


@case(ErrorCode.CONFIRMATION_EXPIRED, 200, "tool", launch=PERSON, revisions=(MODERN,))
async def approval_that_is_none(rig: Rig, revision: str) -> Reply:
    state = f"mcp-policy-sidecar/{'0' * 32}"
    return await rig.post("tools/call", {"name": "list_taxonomy", "arguments": {}, "requestState": state})


# --- gates 5-7 -----------------------------------------------------------------------------------

MANAGED = {"manage_url": "https://example.com/manage"}


@case(ErrorCode.CONSENT_MISSING, 200, "tool", data=MANAGED)
async def other_client(rig: Rig, revision: str) -> Reply:
    return await rig.call("list_taxonomy", revision=revision, token=rig.issuer.mint(client_id="cli-2"))


@case(ErrorCode.CONSENT_REVOKED, 401, "challenge", headers=INVALID)
async def revoked_after_the_token(rig: Rig, revision: str) -> Reply:
    await rig.revoke()
    return await rig.call("list_taxonomy", revision=revision, token=rig.issuer.mint(age=60))


@case(ErrorCode.CONSENT_REVOKED, 200, "tool", data=MANAGED)
async def revoked_before_the_token(rig: Rig, revision: str) -> Reply:
    await rig.revoke()
    return await rig.call("list_taxonomy", revision=revision, token=rig.issuer.mint(age=-5))


@case(ErrorCode.ACCOUNT_UNKNOWN, 200, "tool")
async def account_without_plan(rig: Rig, revision: str) -> Reply:
    await rig.grant("bob")
    return await rig.call("list_taxonomy", revision=revision, token=rig.issuer.mint(subject="bob"))


@case(ErrorCode.ACCOUNT_DISABLED, 200, "tool")
async def disabled(rig: Rig, revision: str) -> Reply:
    await rig.account(active=False)
    return await rig.call("list_taxonomy", revision=revision)


@case(ErrorCode.PLAN_REQUIRED, 200, "tool", data={"plan": "free"})
async def small_plan(rig: Rig, revision: str) -> Reply:
    await rig.account(plan="free")
    return await rig.call("search_shopify_stores", revision=revision)


@case(
    ErrorCode.QUOTA_EXCEEDED,
    200,
    "tool",
    data={"quota": "search_rows", "price": 25, "left": 24, "limit": 24, "window": "month"},
)
async def rows_that_never_fit(rig: Rig, revision: str) -> Reply:
    await rig.account(quotas={("search_rows", "month"): 24})
    return await rig.call("search_shopify_stores", revision=revision)


@case(ErrorCode.INSUFFICIENT_CREDITS, 200, "tool", data={"credit": "contact", "price": 11, "balance": 10, **MANAGED})
async def poor(rig: Rig, revision: str) -> Reply:
    return await rig.call("search_shopify_contacts", {"limit": 11}, revision=revision)


# --- behind the gates ----------------------------------------------------------------------------


def answered(behaviour: scripted.Behaviour) -> Ask:
    """A good call that the backend answers so."""

    async def ask(rig: Rig, revision: str) -> Reply:
        rig.backend.once(behaviour)
        return await rig.call("list_taxonomy", revision=revision)

    return ask


case(ErrorCode.BACKEND_UNAVAILABLE, 502, "rpc", 5020, received=1)(answered(scripted.hang_up()))
case(ErrorCode.BACKEND_TIMEOUT, 504, "rpc", 5040, received=1, launch={"backend": {"timeout": "1s"}})(
    answered(scripted.silent())
)
case(ErrorCode.RESPONSE_TOO_LARGE, 502, "rpc", 5021, received=1, launch={"limits": {"response": "1KiB"}})(
    answered(scripted.result(scripted.tool_result({"padding": "x" * 1024})))
)


@case(ErrorCode.INTERNAL, 500, "rpc", -32603)
async def a_fault_of_ours(rig: Rig, revision: str) -> Reply:
    nothing: Any = None
    rig.sidecar.pipeline.snapshot = replace(rig.sidecar.pipeline.snapshot, policy=nothing)
    return await rig.call("get_usage", revision=revision)


# --- the table -----------------------------------------------------------------------------------

IDS = [(case, revision) for case in CASES for revision in case.revisions]
# Met in tests of their own, below and of resumed streams: they need another store, another server, or a session.
ELSEWHERE = {ErrorCode.STORE_UNAVAILABLE, ErrorCode.BODY_TIMEOUT, ErrorCode.EVENT_UNKNOWN}


def test_every_code_has_a_case():
    assert {case.code for case in CASES} | ELSEWHERE == set(ErrorCode)
    assert not {case.code for case in CASES} & ELSEWHERE


@pytest.mark.parametrize(
    ("case", "revision"), IDS, ids=[f"{case.code.id}-{revision[:4]}-{n}" for n, (case, revision) in enumerate(IDS)]
)
async def test_a_refusal_is_answered_as_its_row_says(launch: Launch, case: Case, revision: str):
    rig = await launch(**case.launch)
    reply = await case.ask(rig, revision)
    check(reply, case, revision, rig)
    assert len(rig.backend.received) == case.received
    line = await rig.line(code=case.code.id)
    assert (line["gate"], line["http_status"]) == (case.code.row.gate.value, reply.status)
    about = line["detail"] or {}
    series = (
        f'mcp_sidecar_refusals_total{{code="{case.code.id}",gate="{case.code.row.gate.value}",'
        f'pool="{about.get("pool", "")}",quota="{about.get("quota", "")}"}}'
    )
    assert await rig.metric(series) == 1


def check(reply: Reply, case: Case, revision: str, rig: Rig) -> None:
    status, number = case.expected(revision)
    assert reply.status == status, reply
    assert re.fullmatch("[0-9a-f]{32}", reply.headers["X-Request-Id"])
    for name, pattern in case.headers.items():
        assert re.fullmatch(pattern, reply.headers[name]), reply.headers
    assert ("WWW-Authenticate" in reply.headers) == (case.shape == "challenge")
    assert ("Retry-After" in reply.headers) == (status == 503)
    assert reply.code == case.code.id
    detail = reply.detail
    assert case.data.items() <= without_time(detail).items()
    {"problem": check_problem, "rpc": check_error, "tool": check_tool_result, "challenge": check_challenge}[case.shape](
        reply, revision, number
    )
    assert rig.issuer.url not in reply.body.decode()


def without_time(detail: Json) -> Json:
    """Drop the times of resets, which depend on the time of day."""
    kept = {name: value for name, value in detail.items() if name != "resets_in"}
    if "prices" in kept:
        kept["prices"] = sorted((without_time(price) for price in kept["prices"]), key=lambda price: "quota" in price)
    return kept


def check_problem(reply: Reply, revision: str, number: int | None) -> None:
    """RFC 9457."""
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert {"title", "status", "detail", "code"} <= reply.json.keys()
    assert reply.json["status"] == reply.status
    assert "jsonrpc" not in reply.json


def check_error(reply: Reply, revision: str, number: int | None) -> None:
    """JSON-RPC 2.0 section 5.1."""
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json.keys() == {"jsonrpc", "id", "error"}
    assert reply.json["error"]["code"] == number
    assert reply.json["error"]["message"]


def check_tool_result(reply: Reply, revision: str, number: int | None) -> None:
    assert reply.headers["Content-Type"] == "application/json"
    result = reply.json["result"]
    assert result["isError"] is True
    assert result["content"][0]["type"] == "text"
    assert result["content"][0]["text"]
    assert "structuredContent" not in result
    assert result.get("resultType") == ("complete" if revision == MODERN else None)
    assert REFUSAL in result["_meta"]


def check_challenge(reply: Reply, revision: str, number: int | None) -> None:
    header = reply.headers["WWW-Authenticate"]
    assert "/.well-known/oauth-protected-resource/mcp" in header
    if number is not None:
        check_error(reply, revision, number)


async def test_store_unavailable(fault_proxy: FaultProxy, own_server: StoreServer, bare: Launch):
    rig = await bare(server=own_server, store_url=fault_proxy.url)
    await rig.account()
    await rig.grant()
    await fault_proxy.refuse()
    for revision in BOTH:
        reply = await rig.call("list_taxonomy", revision=revision)
        assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "store_unavailable", "1")
        check_error(reply, revision, 5033)
    assert not rig.backend.received


async def test_a_store_that_does_not_answer_refuses_within_two_seconds(
    fault_proxy: FaultProxy, own_server: StoreServer, bare: Launch
):
    rig = await bare(server=own_server, store_url=fault_proxy.url)
    await rig.account()
    await rig.grant()
    fault_proxy.drop_replies = True
    async with asyncio.timeout(60):  # far from 2, but for ever is further
        reply = await rig.call("list_taxonomy")
    assert (reply.status, reply.code) == (503, "store_unavailable")
    assert not rig.backend.received
    fault_proxy.drop_replies = False
    fault_proxy.cut()


async def test_body_timeout():
    """The listener's patience is half a minute, so the body is read behind a listener of the test's own."""

    async def handle(request: ClientRequest) -> Answer:
        try:
            await read_body(request, 1000, unbounded(), patience=0.01)
        except Refusal as refusal:
            made = refusal_answer(refusal, None)
            return Answer(made.status, made.headers, made.body)
        raise AssertionError("the body was read")

    listener = ClientServer(handle, lambda _, __: Answer(500), Limits())
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", port := free_port())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in head
    writer.close()
    server.close()


# --- without an id -------------------------------------------------------------------------------

SILENT: dict[str, Callable[[Rig, str], Awaitable[Reply]]] = {
    "notification-2026": lambda rig, token: rig.post("notifications/progress", {"progressToken": 1}, token=token),
    "notification-2025": lambda rig, token: rig.post(
        "notifications/progress", {"progressToken": 1}, token=token, revision=LEGACY
    ),
    "response": lambda rig, token: rig.respond(token=token),
    "GET": lambda rig, token: rig.get(token=token),
}


@pytest.mark.parametrize("ask", SILENT.values(), ids=SILENT.keys())
async def test_what_would_be_a_result_is_403_for_messages_without_an_id(rig: Rig, ask: Ask):
    reply = await ask(rig, rig.issuer.mint(client_id="cli-2"))
    assert (reply.status, reply.code) == (403, "consent_missing")
    assert reply.json["manage_url"] == "https://example.com/manage"
    check_problem(reply, MODERN, None)
    await rig.account(active=False)
    reply = await ask(rig, "")
    assert (reply.status, reply.code) == (403, "account_disabled")
    assert not rig.backend.received


@pytest.mark.parametrize("ask", SILENT.values(), ids=SILENT.keys())
async def test_a_status_of_its_own_is_kept_for_messages_without_an_id(rig: Rig, ask: Ask):
    assert (await ask(rig, rig.issuer.mint(audience="https://other.example"))).status == 401
    await rig.revoke()
    reply = await ask(rig, rig.issuer.mint(age=60))
    assert (reply.status, reply.code) == (401, "consent_revoked")
    check_challenge(reply, MODERN, None)
    reply = await ask(rig, rig.issuer.mint(age=-5))
    assert (reply.status, reply.code) == (403, "consent_revoked")


@pytest.mark.parametrize(("revision", "status"), [(MODERN, 404), (LEGACY, 403)])
async def test_an_undeclared_notification_is_refused(rig: Rig, revision: str, status: int):
    reply = await rig.post("notifications/surprise", revision=revision)
    assert (reply.status, reply.code) == (status, "method_not_allowed")
    check_problem(reply, revision, None)


@pytest.mark.parametrize("ask", [SILENT["notification-2025"], SILENT["response"], SILENT["GET"]])
async def test_a_backend_that_is_gone_is_502_for_messages_without_an_id(rig: Rig, ask: Ask):
    rig.backend.once(scripted.hang_up())
    reply = await ask(rig, "")
    assert (reply.status, reply.code) == (502, "backend_unavailable")
    check_problem(reply, LEGACY, None)


async def test_a_response_posted_in_the_stateless_revision_is_malformed(rig: Rig):
    reply = await rig.respond(revision=MODERN)
    assert (reply.status, reply.code) == (400, "message_malformed")


# --- which comes first ---------------------------------------------------------------------------

REVEAL = {"arguments": contacts("a", confirmed=False)}


async def refused(
    rig: Rig, *, tool: str = "reveal_contacts", arguments: Json | None = None, **claims: Any
) -> str | None:
    arguments = contacts("a", confirmed=False) if arguments is None else arguments
    reply = await rig.call(tool, arguments, token=rig.issuer.mint(**claims))
    assert not rig.backend.received
    return reply.code


async def test_consent_comes_before_everything_of_the_policy(rig: Rig):
    stranger: Json = {"client_id": "cli-2", "scopes": []}
    assert await refused(rig, **stranger) == "consent_missing"
    assert await refused(rig, arguments={"contact_ids": 7}, **stranger) == "consent_missing"
    assert await refused(rig, tool="undeclared", **stranger) == "consent_missing"
    reply = await rig.post("tasks/list", revision=LEGACY, token=rig.issuer.mint(client_id="cli-2"))
    assert reply.code == "consent_missing"


async def test_status_and_plan_come_before_a_challenge_or_a_confirmation(rig: Rig):
    await rig.account(active=False)
    assert await refused(rig, scopes=[]) == "account_disabled"
    assert await refused(rig) == "account_disabled"
    await rig.account(active=True, plan="free")
    assert await refused(rig, scopes=[]) == "plan_required"
    assert await refused(rig) == "plan_required"
    assert await refused(rig, arguments={"contact_ids": 7}) == "plan_required"


async def test_plans_say_nothing_of_undeclared_tools(rig: Rig):
    await rig.account(plan="free")
    assert await refused(rig, tool="undeclared") == "tool_unknown"


async def test_scopes_come_before_arguments_and_those_before_the_confirmation(rig: Rig):
    assert await refused(rig, scopes=[], arguments={"contact_ids": 7}) == "insufficient_scope"
    assert await refused(rig, arguments={"contact_ids": 7}) == "arguments_refused"
    assert await refused(rig) == "confirmation_required"


async def test_a_confirmation_is_not_asked_for_what_cannot_be_paid(launch: Launch):
    rig = await launch(credits=1)
    assert await refused(rig, arguments=contacts("a", "b", confirmed=False)) == "insufficient_credits"


async def test_a_confirmation_names_the_price(rig: Rig):
    reply = await rig.call("reveal_contacts", contacts("a", "b", "b", confirmed=False))
    assert "It costs 2 of your 10 contact credits." in reply.json["result"]["content"][0]["text"]


async def test_a_confirmation_prices_only_what_is_not_paid_yet(rig: Rig):
    assert (await rig.call("reveal_contacts", contacts("a"))).status == 200
    reply = await rig.call("reveal_contacts", contacts("a", "b", confirmed=False))
    assert "It costs 1 of your 9 contact credits." in reply.json["result"]["content"][0]["text"]


@pytest.mark.parametrize("value", [1, "true", False, None, [True]])
async def test_only_true_confirms(rig: Rig, value: object):
    reply = await rig.call("reveal_contacts", {"contact_ids": ["a"], "confirm_spend_credits": value})
    assert reply.code == ("confirmation_required" if value is False else "arguments_refused")
    assert not rig.backend.received


async def test_a_look_leaves_nothing_behind(rig: Rig):
    await rig.call("reveal_contacts", contacts("a", confirmed=False))
    await rig.call("reveal_contacts", contacts("a"), token=rig.issuer.mint(scopes=[]))
    books = await rig.books()
    assert (books.used, books.included, books.left(), books.holds) == ({}, {}, 10, 0)


async def test_a_look_creates_no_consent_on_first_use(bare: Launch):
    rig = await bare(policy=policy(consent="first_use"))
    await rig.account()
    await rig.call("reveal_contacts", contacts("a"), token=rig.issuer.mint(scopes=[]))
    with rig.redis() as client:
        assert not list(client.scan_iter("*consent*"))
    assert (await rig.call("list_taxonomy")).status == 200
    with rig.redis() as client:
        assert len(list(client.scan_iter("*:consent:*"))) == 1


# --- scopes, missing and narrowed ----------------------------------------------------------------


async def test_a_repeated_challenge_becomes_a_result_that_names_the_scope_and_the_remedy(rig: Rig):
    old, new = rig.issuer.mint(scopes=["stores:read"]), rig.issuer.mint(scopes=["stores:read"], age=-5)
    first, again, lacking = [await rig.call("reveal_contacts", contacts("a"), token=each) for each in (old, old, new)]
    assert (first.status, again.status) == (403, 403)
    assert first.detail["missing_scopes"] == ["contacts:reveal"]
    assert "needs: contacts:reveal." in first.headers["WWW-Authenticate"]
    assert (lacking.status, lacking.code) == (200, "insufficient_scope")
    check_tool_result(lacking, MODERN, None)
    assert "WWW-Authenticate" not in lacking.headers
    assert lacking.detail["missing_scopes"] == ["contacts:reveal"]
    [said] = lacking.json["result"]["content"]
    assert "the scope contacts:reveal" in said["text"]
    assert "Authorize this MCP server again" in said["text"]
    assert not re.search("holder|declin|did not grant", said["text"])


async def test_an_expired_token_is_challenged_in_the_issuers_spelling(launch: Launch):
    rig = await launch(issuer={"scope_prefix": "api://x/"})
    token = rig.issuer.mint(scopes=["api://x/contacts:reveal", "openid"], age=3600, lifetime=900)
    reply = await rig.call("list_taxonomy", token=token)
    assert reply.status == 401
    expected = 'scope="api://x/usage:read api://x/stores:read api://x/contacts:reveal"'
    assert expected in reply.headers["WWW-Authenticate"]


async def test_the_log_has_the_values_that_a_gate_compared(rig: Rig):
    audience = "api://0f8fad5b-d9cb-469f-a165-70867728950e"
    foreign = await rig.call("list_taxonomy", token=rig.issuer.mint(audience=audience))
    await rig.call("reveal_contacts", contacts("a"), token=rig.issuer.mint(scopes=["usage:read"]))
    await rig.call("reveal_contacts", {"confirm_spend_credits": True})
    await rig.call("reveal_contacts", contacts(*"abcdefghijk"))
    await rig.call("list_taxonomy", token=None)
    codes = ("token_invalid", "insufficient_scope", "arguments_refused", "insufficient_credits", "token_missing")
    token, scope, arguments, credits, missing = [(await rig.line(code=code))["detail"] for code in codes]
    assert token == {"check": "aud", "found": audience, "accepted": rig.url}
    assert f"found {audience}; accepted {rig.url}" in foreign.headers["WWW-Authenticate"]
    assert scope == {"missing_scopes": "contacts:reveal"}
    assert arguments == {
        "argument": "arguments.contact_ids",
        "keyword": "required",
        "arguments": "The arguments object lacks contact_ids.",
    }
    assert credits == {"pool": "contact", "needed": 11, "left": 10}
    assert missing is None


async def test_another_challenge_is_no_repetition(rig: Rig):
    first = await rig.call("reveal_contacts", contacts("a"), token=rig.issuer.mint(scopes=[]))
    other = await rig.call("list_taxonomy", token=rig.issuer.mint(scopes=[], age=-5))
    client = await rig.call(
        "reveal_contacts",
        contacts("a"),
        token=rig.issuer.mint(scopes=[], age=-5, client_id="cli-1", subject="ada", jti="x"),
    )
    assert (first.status, other.status) == (403, 403)
    assert client.status == 200  # the same caller and scopes again


async def test_an_implied_scope_is_enough(rig: Rig):
    reply = await rig.call("search_shopify_contacts", {"limit": 1}, token=rig.issuer.mint(scopes=["contacts:reveal"]))
    assert reply.code is None
    assert rig.backend.last.header("x-mcp-scopes") == "contacts:reveal contacts:search"


async def test_a_consent_that_lists_scopes_narrows_the_token(rig: Rig):
    await rig.grant(scopes=["stores:read"])
    newer = await rig.call("reveal_contacts", contacts("a"), token=rig.issuer.mint(age=60))
    assert (newer.status, newer.code) == (403, "insufficient_scope")
    scope = re.search(r'scope="([^"]*)"', newer.headers["WWW-Authenticate"])
    assert scope is not None
    assert "contacts:reveal" in scope[1].split()
    older = await rig.call("reveal_contacts", contacts("a"), token=rig.issuer.mint(age=-5))
    assert (older.status, older.code) == (200, "insufficient_scope")
    assert newer.detail["missing_scopes"] == older.detail["missing_scopes"] == ["contacts:reveal"]
    assert "consent does not include every scope that this operation needs: contacts:reveal." in older.body.decode()
    assert not rig.backend.received
    assert (await rig.call("list_taxonomy")).code is None
    assert rig.backend.last.header("x-mcp-scopes") == "stores:read"


async def test_a_consent_to_the_wider_scope_covers_the_implied_one(rig: Rig):
    await rig.grant(scopes=["contacts:reveal"])
    reply = await rig.call("search_shopify_contacts", {"limit": 1}, token=rig.issuer.mint(scopes=["contacts:search"]))
    assert reply.code is None
    assert rig.backend.last.header("x-mcp-scopes") == "contacts:search"


# --- revocation ----------------------------------------------------------------------------------


async def test_a_revocation_on_first_use_is_never_cured_by_a_login(bare: Launch):
    rig = await bare(policy=policy(consent="first_use"))
    await rig.account()
    assert (await rig.call("list_taxonomy")).code is None
    await rig.revoke()
    for age in (60, -5):
        reply = await rig.call("list_taxonomy", token=rig.issuer.mint(age=age))
        assert (reply.status, reply.code) == (200, "consent_revoked")


async def test_a_revocation_stops_the_next_call_and_its_session(launch: Launch):
    rig = await launch(scripted=scripted.Backend(sessions=True))
    token = rig.issuer.mint(age=-5)
    session = await rig.session(token=token)
    headers = {"Mcp-Session-Id": session}
    assert (await rig.call("list_taxonomy", token=token, revision=LEGACY, headers=headers)).code is None
    await rig.revoke()
    reply = await rig.call("list_taxonomy", token=token, revision=LEGACY, headers=headers)
    assert reply.code == "consent_revoked"
    assert [run.tool for run in rig.backend.executed] == ["list_taxonomy"]


async def test_approving_again_cures_a_revocation(rig: Rig):
    await rig.revoke()
    assert (await rig.call("list_taxonomy")).code == "consent_revoked"
    await rig.grant()
    assert (await rig.call("list_taxonomy")).code is None


async def test_a_quota_that_will_reset_says_when(rig: Rig):
    await rig.account(quotas={("requests", "day"): 1})
    assert (await rig.call("list_taxonomy")).code is None
    reply = await rig.call("list_taxonomy")
    assert reply.code == "quota_exceeded"
    assert 0 < reply.detail["retry_after"] <= 86_400
    assert "Retry-After" not in reply.headers  # a result, not a status
