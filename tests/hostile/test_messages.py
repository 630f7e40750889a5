"""Requests that cost more than their bytes: keys, methods, numbers, nesting and headers."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest

from sidecar.errors import Refusal
from sidecar.protocol import headers, jsonrpc, revisions
from sidecar.protocol.headers import McpHeaders
from tests.hostile.bodies import ABOVE, SIZE, UNSORTED, filled, keyed, listed, long_key
from tests.hostile.work import assert_linear

HEADERS = McpHeaders(version="2025-11-25")
HONEST = keyed(long_key("o\u0302\u0323ng "))
"""Keys that are not composed, as files from a Mac are: benign, and read with the same care."""
ROWS = listed('{"a":0}')


def request(params: str, method: str = "tools/call") -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}'.encode()


def call(arguments: str) -> bytes:
    return request(f'{{"name":"t","arguments":{{"a":{arguments}}}}}')


def read(body: bytes) -> None:
    """Pass gate 3, or be refused by it."""
    with suppress(Refusal):
        revisions.call_of(jsonrpc.read(body), HEADERS)


def deep(opening: str, closing: str, levels: int) -> str:
    return listed(opening * levels + closing * levels)


BODIES = {
    "unsorted marks in one key": (call(f'{{"a{UNSORTED * (SIZE // 4)}":0}}'), call(HONEST)),
    "escaped unsorted marks in one key": (call('{"a' + "\\u0301\\u0323" * (SIZE // 12) + '":0}'), call(HONEST)),
    "unsorted marks in the method": (request("{}", "a" + UNSORTED * (SIZE // 4)), call(HONEST)),
    "unsorted marks in keys of params": (request(f'{{"{UNSORTED * (SIZE // 4)}":0}}'), call(HONEST)),
    "as many marks in a row as are accepted": (call(keyed(long_key("a" + UNSORTED * 15))), call(HONEST)),
    "characters that stand for eighteen": (call(keyed(long_key("\ufdfa"))), call(HONEST)),
    "marks that stand for two": (call(keyed(long_key("a" + "\u0f75" * 14))), call(HONEST)),
    "letters that folding makes longer": (call(keyed(long_key("\u0390"))), call(HONEST)),
    "script beyond the BMP": (call(keyed(long_key("\U00012000"))), call(HONEST)),
    "keys in capitals": (call(keyed("K{}".format)), call(keyed("k{}".format))),
    "keys that differ in case at the end": (call(keyed("K{}".format)[:-1] + ',"k0":1}'), call(keyed("k{}".format))),
    "a key repeated at the end": (call(keyed("k{}".format)[:-1] + ',"k0":1}'), call(keyed("k{}".format))),
    "keys of params": (request(keyed("k{}".format)), call(keyed("k{}".format))),
    "keys of params beyond ASCII": (request(keyed("\u00e9{}".format)), call(keyed("\u00e9{}".format))),
    "keys of _meta": (request(f'{{"name":"t","_meta":{keyed("k{}".format)}}}'), call(keyed("k{}".format))),
    "keys of a task": (request(f'{{"name":"t","task":{keyed("k{}".format)}}}'), call(keyed("k{}".format))),
    "small objects": (request(f'{{"a":{listed("{}")}}}', "x/y"), call(ROWS)),
    "small objects beyond ASCII": (
        request(f'{{"a":{listed(chr(123) + chr(34) + "é" + chr(34) + ":1.0}")}}}', "x/y"),
        call(ROWS),
    ),
    "nesting": (call(deep("[", "]", 58)), call(ROWS)),
    "nested objects": (call(deep('{"":', "}", 40).replace(":}", ":0}")), call(ROWS)),
    "nesting beyond the limit": (call("[" * (SIZE // 2) + "]" * (SIZE // 2)), call(ROWS)),
    "nesting that never ends": (call('{"a":[' * (SIZE // 6)), call(ROWS)),
    "brackets in a text": (call('"' + "[{" * (SIZE // 2) + '"'), call(listed('"[{"'))),
    "backslashes": (call('"' + "\\" * SIZE), call(listed('"ab"'))),
    "quotes": (call('"' * SIZE), call(listed('"ab"'))),
    "escapes": (call('"' + "\\u0061" * (SIZE // 6) + '"'), call(listed('"ab"'))),
    "surrogate pairs and rows": (call(f'["\\ud83d\\ude00",{filled(chr(123) + chr(125))}]'), call(ROWS)),
    "half a surrogate pair at the end": (call(f'[{filled("{}")},"\\ud83d"]'), call(ROWS)),
    "numbers that are spelt otherwise": (call(listed("1e1")), call(listed("1.5"))),
    "one such number at the end": (call(f"[{filled('{}')},1.0]"), call(ROWS)),
    "integers of the most digits": (call(listed("9" * 308)), call(listed("1.5"))),
    "one integer": (call("9" * SIZE), call(listed("1.5"))),
    "one decimal": (call("1." + "9" * SIZE), call(listed("1.5"))),
    "poisoned names in texts": (
        request(f'{{"a":{listed(chr(34) + "constructor" + chr(34))}}}', "x/y"),
        call(listed('"constructo"')),
    ),
    "a poisoned name below rows": (request(f'{{"a":[{filled("[]")},{{"__proto__":1}}]}}', "x/y"), call(ROWS)),
    "no JSON at the end": (call(f"[{filled(chr(123) + chr(125))}"), call(ROWS)),
    "subscriptions": (
        request(
            f'{{"notifications":{{"resourceSubscriptions":{listed(chr(34) + "a:" + chr(34))}}}}}',
            "subscriptions/listen",
        ),
        call(listed('"a:"')),
    ),
}


@pytest.mark.parametrize(("hostile", "benign"), BODIES.values(), ids=BODIES)
def test_a_request_costs_what_its_bytes_cost(hostile: bytes, benign: bytes):
    assert 0.5 < len(hostile) / len(benign) < 2
    assert_linear(lambda: read(hostile), lambda: read(benign))


def test_benign_bodies_are_accepted():
    for _, benign in BODIES.values():
        assert revisions.call_of(jsonrpc.read(benign), HEADERS).method == "tools/call"


LINE = 64 * 1024
FIELDS = {
    "commas": [("Accept", "," * LINE)],
    "parameters": [("Accept", "a;" + "q=0;" * (LINE // 4))],
    "blanks": [("Accept", " \t" * (LINE // 2)), ("Content-Type", "application/json" + " \t" * (LINE // 2) + "x")],
    "base64": [("Mcp-Name", f"=?base64?{base64.b64encode(UNSORTED.encode() * (LINE // 6)).decode()}?=")],
    "broken base64": [("Mcp-Name", "=?base64?" + "=" * LINE)],
    "a method of blanks": [("Mcp-Method", "a" + " " * LINE + "\x7f")],
    "an event id": [("Last-Event-ID", "9" * LINE)],
    "many parameters": [(f"Mcp-Param-{number}", "x") for number in range(LINE // 16)],
    "a session": [("Mcp-Session-Id", "x" * LINE)],
}


def read_headers(fields: list[tuple[str, str]]) -> None:
    def values(name: str) -> list[str]:
        return [value for key, value in fields if key == name]

    with suppress(Refusal):
        read = headers.read(fields)
        headers.encode(read.name or read.method or "")
        headers.check_session(read.session)
        headers.check_accept(values("Accept") or ["*/*"], "POST")
        headers.check_content(values("Content-Type") or ["application/json"], ())


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_a_header_costs_what_its_bytes_cost(fields: list[tuple[str, str]]):
    benign = [(f"Mcp-Param-{number}", "benign") for number in range(LINE // 20)]
    assert_linear(lambda: read_headers(fields), lambda: read_headers(benign))


def test_marks_between_starters_are_accepted():
    assert jsonrpc.read(call(f'{{"e{ABOVE * 30}e":0}}')).method == "tools/call"
