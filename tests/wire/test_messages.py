"""JSON that is no message, or that another server reads differently; and confusable arguments."""

from __future__ import annotations

import json

import pytest

from tests.wire.expected import (
    ARGUMENTS,
    MALFORMED,
    MISMATCH,
    NO_METHOD,
    NO_TOOL,
    PARAMS,
    UNCONFIRMED,
    UNPARSABLE,
    Eras,
    Outcome,
    Table,
    cases,
    kept,
    kept_note,
)
from tests.wire.sent import EVERY, GOOD, GOOD_TEXT, Message, call, mirror, named, noted, whole
from tests.wire.wire import Wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_SUCH = Eras(MISMATCH, NO_METHOD)
"""A method that no header can mirror as it is: `Mcp-Method` is never decoded."""


def identified(literal: str) -> Message:
    return Message(id=f'"id":{literal},')


def answered(literal: str) -> Outcome:
    """The good call, forwarded under this id."""
    return kept("{}", id_=literal)


def of_method(method: str) -> Message:
    """A message of this method, mirrored."""
    return Message(method=f'"method":{json.dumps(method)},', mirrors=(mirror(method), None))


def reveal(confirmation: str) -> Message:
    """A call whose confirmation, as text with its name, is declared to the backend."""
    return call("reveal_contacts", f'{{"contact_ids":["a","b"]{confirmation}}}')


def store(confirmation: str) -> Message:
    """A call whose confirmation only the sidecar knows."""
    return call("get_shopify_store", f'{{"domain":"a.example"{confirmation}}}')


def contacts(members: str) -> Message:
    return call("reveal_contacts", f'{{{members},"confirm_spend_credits":true}}')


ENVELOPE: Table = {
    "a batch": {
        "of two": (whole(f"[{GOOD_TEXT},{GOOD_TEXT}]"), MALFORMED),
        "of one": (whole(f"[{GOOD_TEXT}]"), MALFORMED),
        "of none": (whole("[]"), MALFORMED),
        "of positions": (whole('["2.0",1,"tools/call",{"name":"list_taxonomy"}]'), MALFORMED),
        "of batches": (whole(f"[[{GOOD_TEXT}]]"), MALFORMED),
        "params by position": (
            whole('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["reveal_contacts",{}]}'),
            MALFORMED,
        ),
        "params of nothing": (whole('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}'), MALFORMED),
    },
    "no object": {
        "null": (whole("null"), MALFORMED),
        "text": (whole('"tools/call"'), MALFORMED),
        "a number": (whole("1"), MALFORMED),
        "a document within a text": (whole(json.dumps(GOOD.text(""))), MALFORMED),
        "params null": (whole('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}'), MALFORMED),
        "params in a text": (whole('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"{}"}'), MALFORMED),
    },
    "an id": {
        "a fraction": (identified("1.5"), MALFORMED),
        "a whole real": (identified("1.0"), MALFORMED),
        "with an exponent": (identified("1e0"), MALFORMED),
        "null": (identified("null"), MALFORMED),
        "true": (identified("true"), MALFORMED),
        "an object": (identified("{}"), MALFORMED),
        "a list": (identified("[1]"), MALFORMED),
        "too long": (identified(f'"{"x" * 129}"'), MALFORMED),
        "minus zero is zero": (identified("-0"), answered("0")),
        "text that looks like a number stays text": (identified('"1"'), answered('"1"')),
        "empty": (identified('""'), answered('""')),
        "the largest": (identified("9007199254740991"), answered("9007199254740991")),
        "control characters stay escaped": (identified('"a\\r\\nb"'), answered('"a\\r\\nb"')),
    },
    "no id": {
        "tools/call": (Message(id=""), MALFORMED),
        "tools/list": (Message(id="", method='"method":"tools/list",'), MALFORMED),
        "initialize": (Message(id="", method='"method":"initialize",'), MALFORMED),
        "a notification that has one": (of_method("notifications/progress"), MALFORMED),
    },
    "a response and a request in one": {
        "result": (Message(more=',"result":{}'), MALFORMED),
        "error": (Message(more=',"error":{"code":1,"message":""}'), MALFORMED),
        "result null": (Message(more=',"result":null'), MALFORMED),
        "result first": (Message(id='"result":{},"id":1,'), MALFORMED),
    },
    "another member": {
        "unknown": (Message(more=',"extra":1'), MALFORMED),
        "name": (Message(more=',"name":"reveal_contacts"'), MALFORMED),
        "a token": (Message(more=',"access_token":"x"'), MALFORMED),
        "jsonrpc 1.0": (whole(GOOD_TEXT.replace("2.0", "1.0")), MALFORMED),
        "jsonrpc 2": (whole(GOOD_TEXT.replace('"2.0"', "2.0")), MALFORMED),
        "no jsonrpc": (whole(GOOD_TEXT.replace('"jsonrpc":"2.0",', "")), MALFORMED),
    },
}

NAMES: Table = {
    "a method": {
        "in capitals": (of_method("Tools/Call"), NO_METHOD),
        "all capitals": (of_method("TOOLS/CALL"), NO_METHOD),
        "with a blank": (of_method("tools/call "), NO_SUCH),
        "with a slash": (of_method("tools/call/"), NO_METHOD),
        "with two slashes": (of_method("tools//call"), NO_METHOD),
        "with NUL": (of_method("tools/call\0"), NO_SUCH),
        "zero width": (of_method("tools/\u200bcall"), NO_SUCH),
        "full width": (of_method("\uff54ools/call"), NO_SUCH),
        "of the server": (of_method("sampling/createMessage"), NO_METHOD),
        "internal": (of_method("rpc.discover"), NO_METHOD),
        "empty": (of_method(""), MALFORMED),
        "a list": (Message(method='"method":["tools/call"],'), MALFORMED),
        "null": (Message(method='"method":null,'), MALFORMED),
    },
    "a tool's name": {
        "a list": (named('"name":["list_taxonomy"],"arguments":{}'), PARAMS),
        "an object": (named('"name":{"0":"list_taxonomy"},"arguments":{}'), PARAMS),
        "a number": (named('"name":1,"arguments":{}'), PARAMS),
        "null": (named('"name":null,"arguments":{}'), PARAMS),
        "none": (named('"arguments":{}'), PARAMS),
        "blank before": (call(" list_taxonomy"), NO_TOOL),
        "blank behind": (call("list_taxonomy "), NO_TOOL),
        "line break": (call("list_taxonomy\\n", mirrors=("tools/call", mirror("list_taxonomy\n"))), NO_TOOL),
        "zero width": (call("list_\u200btaxonomy"), NO_TOOL),
        "soft hyphen": (call("list_tax\u00adonomy"), NO_TOOL),
        "capitals": (call("List_Taxonomy"), NO_TOOL),
        "long s": (call("li\u017ft_taxonomy"), NO_TOOL),
        "full width": (call("\uff4cist_taxonomy"), NO_TOOL),
        "cyrillic": (call("list_t\u0430xonomy"), NO_TOOL),
        "NUL": (call("list_taxonomy\\u0000", mirrors=("tools/call", mirror("list_taxonomy\0"))), NO_TOOL),
        "empty": (call("", mirrors=("tools/call", mirror(""))), NO_TOOL),
        "a path": (call("../list_taxonomy"), NO_TOOL),
        "arguments in a text": (named('"name":"list_taxonomy","arguments":"{}"'), PARAMS),
        "arguments in a list": (named('"name":"list_taxonomy","arguments":[]'), PARAMS),
        "arguments null": (named('"name":"list_taxonomy","arguments":null'), PARAMS),
    },
    "what JavaScript merges": {
        "__proto__ in the envelope": (Message(more=',"__proto__":{"method":"x"}'), MALFORMED),
        "constructor in the envelope": (Message(more=',"constructor":{}'), MALFORMED),
        "__proto__ in params": (named('"name":"list_taxonomy","__proto__":{"name":"reveal_contacts"}'), PARAMS),
        "escaped": (named('"name":"list_taxonomy","__pr\\u006fto__":{"name":"reveal_contacts"}'), PARAMS),
        "constructor in params": (named('"name":"list_taxonomy","constructor":{"prototype":{}}'), PARAMS),
        "__proto__ in _meta": (Message(in_meta='"__proto__":{}'), PARAMS),
        "deep in _meta": (Message(in_meta='"x.example/y":[{"z":{"__proto__":{"a":1}}}]'), PARAMS),
        "constructor deep in _meta": (Message(in_meta='"x.example/y":{"constructor":{"prototype":{}}}'), PARAMS),
        "deep in an unknown parameter": (named('"name":"list_taxonomy","other":{"a":[{"__proto__":{}}]}'), PARAMS),
        "in the answers to a server's wishes": (
            named('"name":"list_taxonomy","inputResponses":{"a":{"__proto__":{}}}'),
            PARAMS,
        ),
        "__proto__ in arguments": (noted('"__proto__":{"a":1}'), ARGUMENTS),
        "deep in arguments": (noted('"a":[{"b":{"__proto__":{}}}]'), ARGUMENTS),
        "constructor deep in arguments": (noted('"a":{"constructor":1}'), ARGUMENTS),
        "an argument that the schema lists": (
            call(arguments='{"constructor":"Bauhaus"}'),
            kept('{"constructor":"Bauhaus"}'),
        ),
        "as a value it is text": (noted('"a":"__proto__"'), kept_note('"a":"__proto__"')),
    },
}

ARGUMENT: Table = {
    "a confirmation": {
        "none": (reveal(""), UNCONFIRMED),
        "false": (reveal(',"confirm_spend_credits":false'), UNCONFIRMED),
        "1": (reveal(',"confirm_spend_credits":1'), ARGUMENTS),
        "1.0": (reveal(',"confirm_spend_credits":1.0'), ARGUMENTS),
        "the word": (reveal(',"confirm_spend_credits":"true"'), ARGUMENTS),
        "yes": (reveal(',"confirm_spend_credits":"yes"'), ARGUMENTS),
        "null": (reveal(',"confirm_spend_credits":null'), ARGUMENTS),
        "in a list": (reveal(',"confirm_spend_credits":[true]'), ARGUMENTS),
        "in other letters": (reveal(',"Confirm_Spend_Credits":true'), ARGUMENTS),
        "outside arguments": (
            named(
                '"name":"reveal_contacts","arguments":{"contact_ids":["a"]},"confirm_spend_credits":true',
                mirrors=("tools/call", "reveal_contacts"),
            ),
            UNCONFIRMED,
        ),
        "true": (
            reveal(',"confirm_spend_credits":true'),
            kept('{"contact_ids":["a","b"],"confirm_spend_credits":true}', "reveal_contacts", credits=2),
        ),
    },
    "an injected confirmation": {
        "none": (store(""), UNCONFIRMED),
        "1": (store(',"sure":1'), UNCONFIRMED),
        "the word": (store(',"sure":"true"'), UNCONFIRMED),
        "null": (store(',"sure":null'), UNCONFIRMED),
        "in other letters": (store(',"SURE":true'), ARGUMENTS),
        "true is taken out": (store(',"sure":true'), kept('{"domain":"a.example"}', "get_shopify_store")),
    },
    "a priced argument": {
        "in capitals": (contacts('"CONTACT_IDS":["x"]'), ARGUMENTS),
        "with a capital": (contacts('"Contact_ids":["x"]'), ARGUMENTS),
        "long s": (contacts('"contact_id\u017f":["x"]'), ARGUMENTS),
        "full width": (contacts('"contact_\uff49ds":["x"]'), ARGUMENTS),
        "next to the right one": (contacts('"contact_ids":["x"],"Contact_Ids":["y","z"]'), UNPARSABLE),
        "of another type": (contacts('"contact_ids":"x"'), ARGUMENTS),
        "with numbers": (contacts('"contact_ids":[1,2]'), ARGUMENTS),
        "a list in it": (contacts('"contact_ids":[["x","y"]]'), ARGUMENTS),
        "too many": (contacts(f'"contact_ids":{json.dumps(["x"] * 21)}'), ARGUMENTS),
        "where others are accepted": (call("search_shopify_stores", '{"LIMIT":200}'), ARGUMENTS),
        "full width where others are accepted": (
            call("search_shopify_stores", '{"\uff4cimit":200}'),
            ARGUMENTS,
        ),
    },
}


@cases(ENVELOPE, EVERY)
async def test_envelope(wire: Wire, message: Message, outcome: Outcome, revision: str):
    await wire.check(await wire.post(revision, message), revision, outcome)


@cases(NAMES)
async def test_names(wire: Wire, message: Message, outcome: Outcome, revision: str):
    await wire.check(await wire.post(revision, message), revision, outcome)


@cases(ARGUMENT)
async def test_arguments(wire: Wire, message: Message, outcome: Outcome, revision: str):
    await wire.check(await wire.post(revision, message), revision, outcome)
