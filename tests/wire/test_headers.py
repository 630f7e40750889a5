"""Headers that mirror the message: they agree with the body, or the call is refused."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.support import backend as scripted
from tests.support.rig import LEGACY, MODERN, Json, Rig
from tests.wire.expected import (
    FORWARDED,
    HOST,
    HTTP,
    MEDIA,
    MISMATCH,
    ORIGIN,
    PARAMS,
    SESSION,
    VERSION,
    Outcome,
    kept,
)
from tests.wire.sent import BOTH, EVERY, GOOD, GOOD_TEXT, OLDER, Changes, Message, call, named, whole
from tests.wire.wire import Wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

Row = tuple[Changes, Outcome] | tuple[Changes, Outcome, Message]
Table = dict[str, dict[str, Row]]

REVEAL = call("reveal_contacts", '{"contact_ids":["a","b"],"confirm_spend_credits":true}')
REVEALED = kept('{"contact_ids":["a","b"],"confirm_spend_credits":true}', "reveal_contacts", credits=2)
SEARCH = {"Mcp-Name": "list_taxonomy"}


def cases(table: Table, revisions: Iterable[str]) -> pytest.MarkDecorator:
    made = [
        pytest.param(*row[:2], row[2] if len(row) > 2 else GOOD, revision, id=f"{name}: {case}, {revision[:7]}")
        for name, rows in table.items()
        for case, row in rows.items()
        for revision in revisions
    ]
    return pytest.mark.parametrize(("changes", "outcome", "message", "revision"), made)


MIRRORS: Table = {
    "Mcp-Name": {
        "of another tool": (SEARCH, MISMATCH, REVEAL),
        "of a dearer tool": ({"Mcp-Name": "reveal_contacts"}, MISMATCH),
        "in other letters": ({"Mcp-Name": "List_Taxonomy"}, MISMATCH),
        "empty": ({"Mcp-Name": ""}, MISMATCH),
        "of a method that has no name": (
            {"Mcp-Method": "tools/list", "Mcp-Name": "list_taxonomy"},
            MISMATCH,
            Message(method='"method":"tools/list",', params='"cursor":"x"'),
        ),
        "in base64 of another tool": ({"Mcp-Name": "=?base64?cmV2ZWFsX2NvbnRhY3Rz?="}, MISMATCH),
        "in BASE64": ({"Mcp-Name": "=?BASE64?bGlzdF90YXhvbm9teQ==?="}, MISMATCH),
        "in Base64 without padding": ({"Mcp-Name": "=?base64?bGlzdF90YXhvbm9teQ?="}, MISMATCH),
        "in base64 with bits left over": ({"Mcp-Name": "=?base64?bGlzdF90YXhvbm9teR==?="}, MISMATCH),
        "in base64 with a blank": ({"Mcp-Name": "=?base64?bGlzdF90 YXhvbm9teQ==?="}, MISMATCH),
        "in base64 that does not end": ({"Mcp-Name": "=?base64?bGlzdF90YXhvbm9teQ=="}, MISMATCH),
        "in base64 of no UTF-8": ({"Mcp-Name": "=?base64?/w==?="}, MISMATCH),
        "as MIME writes it": ({"Mcp-Name": "=?utf-8?B?bGlzdF90YXhvbm9teQ==?="}, MISMATCH),
        "percent-encoded": ({"Mcp-Name": "list%5Ftaxonomy"}, MISMATCH),
        "in quotes": ({"Mcp-Name": '"list_taxonomy"'}, MISMATCH),
        "twice in one line": ({"Mcp-Name": "list_taxonomy, list_taxonomy"}, MISMATCH),
        "twice, alike": ({"Mcp-Name": ["list_taxonomy", "list_taxonomy"]}, MISMATCH),
        "twice, the good one first": ({"Mcp-Name": ["list_taxonomy", "reveal_contacts"]}, MISMATCH),
        "twice, the good one last": ({"Mcp-Name": ["reveal_contacts", "list_taxonomy"]}, MISMATCH),
        "twice, in other letters": ({"Mcp-Name": "list_taxonomy", "MCP-NAME": "list_taxonomy"}, MISMATCH),
        "with bytes of no ASCII": ({"Mcp-Name": "list_taxonom\xff"}, MISMATCH),
        "with a tab": ({"Mcp-Name": "list\ttaxonomy"}, MISMATCH),
        "between blanks": ({"Mcp-Name": "  list_taxonomy \t"}, FORWARDED),
    },
    "Mcp-Method": {
        "of another method": ({"Mcp-Method": "tools/list"}, MISMATCH),
        "in other letters": ({"Mcp-Method": "Tools/Call"}, MISMATCH),
        "twice": ({"Mcp-Method": ["tools/call", "tools/call"]}, MISMATCH),
        "in base64": ({"Mcp-Method": "=?base64?dG9vbHMvY2FsbA==?="}, MISMATCH),
        "empty": ({"Mcp-Method": ""}, MISMATCH),
    },
    "MCP-Protocol-Version": {
        "twice, alike": ({"MCP-Protocol-Version": [MODERN, MODERN]}, MISMATCH),
        "twice, old and new": ({"MCP-Protocol-Version": [LEGACY, MODERN]}, MISMATCH),
        "twice, new and old": ({"MCP-Protocol-Version": [MODERN, LEGACY]}, MISMATCH),
    },
    "other headers of the protocol": {
        "a session twice": ({"Mcp-Session-Id": ["a", "a"]}, MISMATCH),
        "an event's id twice": ({"Last-Event-ID": ["1", "2"]}, MISMATCH),
        "a parameter twice": ({"Mcp-Param-Region": ["eu", "us"]}, MISMATCH),
        "a parameter of no ASCII": ({"Mcp-Param-Region": "\xe9"}, MISMATCH),
        "an unknown one twice": ({"Mcp-Unheard-Of": ["a", "a"]}, MISMATCH),
        "an unknown one goes no further": ({"Mcp-Unheard-Of": "a"}, FORWARDED),
        "underscores are another name": ({"Mcp_Name": "reveal_contacts", "Mcp_Method": "tools/list"}, FORWARDED),
    },
}

STATELESS: Table = {
    "what mirrors is required": {
        "no Mcp-Name": ({"Mcp-Name": []}, MISMATCH),
        "no Mcp-Method": ({"Mcp-Method": []}, MISMATCH),
        "no version": ({"MCP-Protocol-Version": []}, MISMATCH),
        "none": ({"Mcp-Name": [], "Mcp-Method": [], "MCP-Protocol-Version": []}, MISMATCH),
        "another version than the body": ({"MCP-Protocol-Version": LEGACY}, MISMATCH),
        "an unknown version and the body's": ({"MCP-Protocol-Version": "2099-01-01"}, MISMATCH),
        "two versions in one line": ({"MCP-Protocol-Version": f"{MODERN}, {LEGACY}"}, MISMATCH),
        "a body that claims nothing": (
            {},
            PARAMS,
            whole('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_taxonomy"}}'),
        ),
        "a body whose version is a number": (
            {},
            MISMATCH,
            whole(GOOD_TEXT.replace("<meta>", ',"_meta":{"io.modelcontextprotocol/protocolVersion":20260728}')),
        ),
        "base64 that says the same": ({"Mcp-Name": "=?base64?bGlzdF90YXhvbm9teQ==?="}, FORWARDED),
        "a parameter is carried over": ({"Mcp-Param-Region": "eu"}, FORWARDED),
        "sessions are nothing": ({"Mcp-Session-Id": "stolen", "Last-Event-ID": "7"}, FORWARDED),
    },
}

SESSIONS: Table = {
    "what does not mirror is not needed": {
        "the body alone counts": ({}, REVEALED, REVEAL),
        "an agreeing name": ({"Mcp-Name": "reveal_contacts", "Mcp-Method": "tools/call"}, REVEALED, REVEAL),
        "a parameter goes no further": ({"Mcp-Param-Region": "eu"}, FORWARDED),
    },
    "a version": {
        "two in one line": ({"MCP-Protocol-Version": f"{LEGACY}, {LEGACY}"}, VERSION),
        "unknown": ({"MCP-Protocol-Version": "2099-01-01"}, VERSION),
        "empty": ({"MCP-Protocol-Version": ""}, VERSION),
        "in quotes": ({"MCP-Protocol-Version": f'"{LEGACY}"'}, VERSION),
        "of the first transport": ({"MCP-Protocol-Version": "2024-11-05"}, VERSION),
        "that the body lacks": ({"MCP-Protocol-Version": MODERN}, PARAMS),
    },
    "a session": {
        "that was never opened": ({"Mcp-Session-Id": "guessed"}, SESSION),
        "that can be none": ({"Mcp-Session-Id": "a b"}, SESSION),
        "that is too long": ({"Mcp-Session-Id": "x" * 2000}, SESSION),
        "that is empty": ({"Mcp-Session-Id": ""}, SESSION),
    },
}

UTF_7 = named('"name":"list_taxonomy","arguments":{},"+AG4-ame":"reveal_contacts"')
FORM = "application/x-www-form-urlencoded"

MEDIA_TYPES: Table = {
    "Content-Type": {
        "none": ({"Content-Type": []}, MEDIA),
        "empty": ({"Content-Type": ""}, MEDIA),
        "text": ({"Content-Type": "text/plain"}, MEDIA),
        "text that is JSON": ({"Content-Type": "text/json"}, MEDIA),
        "a relative of JSON": ({"Content-Type": "application/json-rpc"}, MEDIA),
        "a suffix": ({"Content-Type": "application/vnd.api+json"}, MEDIA),
        "lines of JSON": ({"Content-Type": "application/x-ndjson"}, MEDIA),
        "a form": ({"Content-Type": FORM}, MEDIA),
        "a multipart form": ({"Content-Type": "multipart/form-data; boundary=x"}, MEDIA),
        "a list": ({"Content-Type": "application/json, text/plain"}, MEDIA),
        "a list of one": ({"Content-Type": "application/json, application/json"}, MEDIA),
        "twice, alike": ({"Content-Type": ["application/json", "application/json"]}, HTTP),
        "twice": ({"Content-Type": ["application/json", "text/plain"]}, HTTP),
        "UTF-7": ({"Content-Type": "application/json; charset=utf-7"}, MEDIA, UTF_7),
        "UTF-7 in quotes": ({"Content-Type": 'application/json; charset="utf-7"'}, MEDIA, UTF_7),
        "UTF-16": ({"Content-Type": "application/json; charset=utf-16"}, MEDIA, Message(encoding="utf-16")),
        "UTF-32": ({"Content-Type": "application/json; charset=utf-32"}, MEDIA, Message(encoding="utf-32-le")),
        "Latin-1": ({"Content-Type": "application/json; charset=iso-8859-1"}, MEDIA),
        "two charsets": ({"Content-Type": "application/json; charset=utf-8; charset=utf-7"}, MEDIA),
        "a charset continued": ({"Content-Type": "application/json; charset*=utf-8''utf-7"}, MEDIA),
        "another parameter": ({"Content-Type": "application/json; profile=x"}, MEDIA),
        "a parameter without a name": ({"Content-Type": "application/json;"}, MEDIA),
        "UTF-7 that is not declared": (
            {},
            replace(FORWARDED, message=FORWARDED.message.replace("{}", '{},"+AG4-ame":"reveal_contacts"')),
            UTF_7,
        ),
        "UTF-8": ({"Content-Type": "application/json; charset=UTF-8"}, FORWARDED),
        "in capitals": ({"Content-Type": "APPLICATION/JSON"}, FORWARDED),
    },
    "Content-Encoding": {
        "gzip of nothing": ({"Content-Encoding": "gzip"}, MEDIA),
        "identity": ({"Content-Encoding": "identity"}, MEDIA),
        "several": ({"Content-Encoding": "deflate, gzip"}, MEDIA),
        "unknown": ({"Content-Encoding": "x-canary"}, MEDIA),
        "empty": ({"Content-Encoding": ""}, MEDIA),
        "twice": ({"Content-Encoding": ["identity", "gzip"]}, MEDIA),
    },
    "Origin": {
        "of a stranger": ({"Origin": "https://evil.example"}, ORIGIN),
        "null": ({"Origin": "null"}, ORIGIN),
        "empty": ({"Origin": ""}, ORIGIN),
        "twice": ({"Origin": ["https://evil.example", "https://evil.example"]}, ORIGIN),
        "a prefix": ({"Origin": "http://127.0.0.1.evil.example"}, ORIGIN),
    },
    "Host": {
        "of a stranger": ({"Host": "evil.example"}, HOST),
        "a prefix": ({"Host": "127.0.0.1.evil.example"}, HOST),
        "behind a name": ({"Host": "127.0.0.1@evil.example"}, HOST),
        "twice": ({"Host": ["127.0.0.1", "evil.example"]}, HTTP),
        "none": ({"Host": []}, HTTP),
        "another port": ({"Host": "127.0.0.1:1"}, FORWARDED),
    },
}


@cases(MIRRORS, EVERY)
async def test_mirrors(wire: Wire, changes: Changes, outcome: Outcome, message: Message, revision: str):
    await wire.check(await wire.post(revision, message, changes), revision, outcome)


@cases(STATELESS, [MODERN])
async def test_headers_that_2026_requires(
    wire: Wire, changes: Changes, outcome: Outcome, message: Message, revision: str
):
    await wire.check(await wire.post(revision, message, changes), revision, outcome)


@cases(SESSIONS, OLDER)
async def test_headers_that_older_revisions_ignore(
    wire: Wire, changes: Changes, outcome: Outcome, message: Message, revision: str
):
    await wire.check(await wire.post(revision, message, changes), revision, outcome)


@cases(MEDIA_TYPES, BOTH)
async def test_media(wire: Wire, changes: Changes, outcome: Outcome, message: Message, revision: str):
    await wire.check(await wire.post(revision, message, changes), revision, outcome)


@pytest.mark.parametrize("revision", BOTH)
async def test_a_compressed_body_is_not_unpacked(wire: Wire, revision: str):
    body = gzip.compress(GOOD.body(revision))
    sent = {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
    await wire.check(await wire.send(wire.request(revision, GOOD, sent, body=body)), revision, MEDIA)


async def test_no_version_is_that_of_the_first_revision(wire: Wire):
    await wire.check(await wire.post("2025-03-26", GOOD, {"MCP-Protocol-Version": []}), "2025-03-26", FORWARDED)


STRANGERS: dict[str, Json] = {"another client": {"client_id": "cli-2"}, "another account": {"subject": "bob"}}
VERBS = {
    "POST": ("POST", {}),
    "GET": ("GET", {"Content-Type": [], "Content-Length": []}),
    "GET that resumes": ("GET", {"Content-Type": [], "Content-Length": [], "Last-Event-ID": "1"}),
    "DELETE": ("DELETE", {"Content-Type": [], "Content-Length": []}),
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize(("verb", "changes"), VERBS.values(), ids=VERBS)
async def test_a_session_of_another_caller(served: Rig, stranger: Json, verb: str, changes: Changes):
    await served.account("bob")
    await served.grant("bob")
    await served.grant(client="cli-2")
    session = await served.session()
    await served.recorded(len(served.calls) or 1)
    wire = await Wire.of(served)
    wire.token = served.issuer.mint(**stranger)
    sent = wire.request(
        LEGACY,
        GOOD,
        {**changes, "Mcp-Session-Id": session},
        first=f"{verb} /mcp HTTP/1.1",
        body=None if verb == "POST" else b"",
    )
    # Without a message there is no JSON-RPC to answer in.
    await wire.check(await wire.send(sent), LEGACY, SESSION if verb == "POST" else replace(SESSION, number=None))
    assert (await served.delete(session=session)).status == 204


async def test_a_call_that_asks_for_input_is_paid_once(wire: Wire):
    wire.rig.backend.once(scripted.input_required("state"))
    await wire.check(await wire.post(MODERN, REVEAL), MODERN, replace(REVEALED, tool=None, credits=0))
    again = Message(
        params='"name":"reveal_contacts","arguments":{"contact_ids":["a","b"],"confirm_spend_credits":true},'
        '"requestState":"state","inputResponses":{}',
        id='"id":2,',
        mirrors=("tools/call", "reveal_contacts"),
    )
    wire = await Wire.of(wire.rig)
    forwarded = replace(REVEALED, message=again.text("").replace("}}", "}<meta>}"))
    await wire.check(await wire.post(MODERN, again), MODERN, forwarded)
