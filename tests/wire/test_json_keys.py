"""Keys that one parser reads as another key, or as a duplicate."""

from __future__ import annotations

import pytest

from tests.wire.expected import MALFORMED, PARAMS, UNPARSABLE, Outcome, Table, cases, kept_note
from tests.wire.sent import Message, call, named, noted, whole
from tests.wire.wire import Wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

REVEAL = '"name":"reveal_contacts"'

TABLE: Table = {
    "a key twice": {
        "name": (named(f'"name":"list_taxonomy",{REVEAL},"arguments":{{}}'), UNPARSABLE),
        "name, the second escaped": (named('"name":"list_taxonomy","n\\u0061me":"reveal_contacts"'), UNPARSABLE),
        "name, the first escaped": (named(f'"\\u006eame":"list_taxonomy",{REVEAL}'), UNPARSABLE),
        "with the same value": (named('"name":"list_taxonomy","name":"list_taxonomy"'), UNPARSABLE),
        "arguments": (named('"name":"list_taxonomy","arguments":{},"arguments":{"a":1}'), UNPARSABLE),
        "method": (Message(method='"method":"tools/list","method":"tools/call",'), UNPARSABLE),
        "id": (Message(id='"id":1,"id":2,'), UNPARSABLE),
        "jsonrpc": (Message(more=',"jsonrpc":"2.0"'), UNPARSABLE),
        "in an argument": (call(arguments='{"a":{"b":1,"b":2}}'), UNPARSABLE),
        "in a list": (call(arguments='{"a":[0,[{"b":1,"b":1}]]}'), UNPARSABLE),
        "in _meta": (Message(in_meta='"x":1,"x":2'), UNPARSABLE),
        "a character in two spellings": (noted('"\\ud83d\\ude00":1,"\U0001f600":2'), UNPARSABLE),
        "the empty one": (noted('"":1,"":2'), UNPARSABLE),
        "a price": (call("search_shopify_stores", '{"limit":1,"limit":99}'), UNPARSABLE),
        "a confirmation": (
            call("get_shopify_store", '{"domain":"a.example","sure":false,"sure":true}'),
            UNPARSABLE,
        ),
        "in two objects is fine": (noted('"a":{"b":1},"c":{"b":1}'), kept_note('"a":{"b":1},"c":{"b":1}')),
    },
    "two params": {
        "merged by some": (
            whole(
                '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"reveal_contacts"},'
                '"params":{"arguments":{}<meta>}}'
            ),
            UNPARSABLE,
        ),
        "the good one first": (Message(more=f',"params":{{{REVEAL}}}'), UNPARSABLE),
    },
    "a key in other letters": {
        "Name": (named('"name":"list_taxonomy","Name":"reveal_contacts"'), UNPARSABLE),
        "NAME alone": (named('"NAME":"reveal_contacts","arguments":{}'), PARAMS),
        "PARAMS": (Message(more=f',"PARAMS":{{{REVEAL}}}'), UNPARSABLE),
        "PARAMS alone": (
            whole('{"jsonrpc":"2.0","id":1,"method":"tools/call","PARAMS":{"name":"reveal_contacts"}}'),
            MALFORMED,
        ),
        "long s": (Message(more=f',"param\u017f":{{{REVEAL}}}'), UNPARSABLE),
        "long s, escaped": (Message(more=f',"param\\u017f":{{{REVEAL}}}'), UNPARSABLE),
        "long s in arguments": (named('"name":"list_taxonomy","argument\u017f":{"a":1}'), PARAMS),
        "full width": (named('"name":"list_taxonomy","\uff4e\uff41\uff4d\uff45":"reveal_contacts"'), UNPARSABLE),
        "superscript": (named('"name":"list_taxonomy","n\u00aame":"reveal_contacts"'), UNPARSABLE),
        "Arguments alone": (named('"name":"list_taxonomy","Arguments":{"a":1}'), PARAMS),
        "Method": (Message(more=',"Method":"tools/list"'), UNPARSABLE),
        "JSONRPC": (Message(more=',"JSONRPC":"2.0"'), UNPARSABLE),
        "_META alone": (
            whole('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_taxonomy","_META":{}}}'),
            PARAMS,
        ),
        "siblings far from what is read": (noted('"x":[{"key":1,"KEY":2}]'), UNPARSABLE),
        "kelvin": (noted('"k":1,"\u212a":2'), UNPARSABLE),
        "sharp s": (noted('"strasse":1,"stra\u00dfe":2'), UNPARSABLE),
        "composed and decomposed": (noted('"caf\u00e9":1,"cafe\u0301":2'), UNPARSABLE),
        "a letter that only looks alike": (noted('"a":1,"\u0430":2'), kept_note('"a":1,"\u0430":2')),
    },
    "NUL in a key": {
        "name": (named('"name":"list_taxonomy","name\\u0000":"reveal_contacts"'), UNPARSABLE),
        "name alone": (named('"name\\u0000":"reveal_contacts"'), UNPARSABLE),
        "method": (Message(more=',"method\\u0000":"tools/list"'), UNPARSABLE),
        "an argument": (noted('"\\u0000limit":1'), UNPARSABLE),
        "raw": (noted('"limit\0":1'), UNPARSABLE),
        "in a value is data": (noted('"a":"x\\u0000"'), kept_note('"a":"x\\u0000"')),
    },
}


@cases(TABLE)
async def test_keys(wire: Wire, message: Message, outcome: Outcome, revision: str):
    await wire.check(await wire.post(revision, message), revision, outcome)
