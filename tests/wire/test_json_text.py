"""Bytes that one parser reads as JSON and another does not, or as other JSON."""

from __future__ import annotations

import pytest

from tests.wire.expected import (
    ARGUMENTS,
    FORWARDED,
    MALFORMED,
    PARAMS,
    UNPARSABLE,
    Outcome,
    Table,
    cases,
    kept,
    kept_note,
)
from tests.wire.sent import GOOD_TEXT, Message, call, named, noted, whole
from tests.wire.wire import Wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEVELS = 61
"""Levels left for a value in `arguments`: the document, `params` and `arguments` are three of 64."""


def nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    return opening * levels + closing * levels


def value(literal: str) -> Message:
    """A call with this literal in an argument that no policy reads."""
    return noted(f'"a":{literal}')


def priced(literal: str) -> Message:
    """A call with this literal in the argument that sets its price."""
    return call("search_shopify_stores", f'{{"limit":{literal}}}')


BYTES: Table = {
    "bytes that are no UTF-8": {  # lone surrogates stand for bytes
        "an overlong letter in a key": (
            named('"name":"list_taxonomy","\udcc1\udcaeame":"reveal_contacts"'),
            UNPARSABLE,
        ),
        "an overlong letter in the key": (named('"\udcc1\udcaeame":"reveal_contacts"'), UNPARSABLE),
        "an overlong slash": (Message(method='"method":"tools\udcc0\udcafcall",'), UNPARSABLE),
        "an overlong quote": (value('"\udcc0\udca2"'), UNPARSABLE),
        "an overlong NUL": (value('"\udcc0\udc80"'), UNPARSABLE),
        "a surrogate": (value('"\udced\udca0\udc80"'), UNPARSABLE),
        "beyond Unicode": (value('"\udcf4\udc90\udc80\udc80"'), UNPARSABLE),
        "Latin-1": (value('"\udce9"'), UNPARSABLE),
        "cut off": (value('"\udce2\udc82"'), UNPARSABLE),
        "a lone continuation": (value('"\udc80"'), UNPARSABLE),
        "FF FE": (value('"\udcff\udcfe"'), UNPARSABLE),
        "outside strings": (Message(more="\udcff"), UNPARSABLE),
    },
    "another encoding": {
        "UTF-16 with its mark": (Message(encoding="utf-16"), UNPARSABLE),
        "UTF-16, little endian": (Message(encoding="utf-16-le"), UNPARSABLE),
        "UTF-16, big endian": (Message(encoding="utf-16-be"), UNPARSABLE),
        "UTF-32, little endian": (Message(encoding="utf-32-le"), UNPARSABLE),
        "UTF-32, big endian": (Message(encoding="utf-32-be"), UNPARSABLE),
        "UTF-7 is read as the ASCII it is": (noted('"+AG4-ame":"x"'), kept_note('"+AG4-ame":"x"')),
    },
    "a byte order mark": {
        "first": (whole(f"\ufeff{GOOD_TEXT}"), UNPARSABLE),
        "behind a blank": (whole(f" \ufeff{GOOD_TEXT}"), UNPARSABLE),
        "last": (whole(f"{GOOD_TEXT}\ufeff"), UNPARSABLE),
        "within a key is a letter": (noted('"\ufeffa":1'), kept_note('"\ufeffa":1')),
    },
    "a lone surrogate": {
        "in a value": (value('"\\ud800"'), UNPARSABLE),
        "in capitals": (value('"x\\uDBFFy"'), UNPARSABLE),
        "the second half": (value('"\\udc00"'), UNPARSABLE),
        "halves the wrong way round": (value('"\\udc00\\ud800"'), UNPARSABLE),
        "a half and an escaped letter": (value('"\\ud800\\u0041"'), UNPARSABLE),
        "in a key": (noted('"\\ud800":1'), UNPARSABLE),
        "in the name": (call("list_taxonomy\\ud800", mirrors=("tools/call", "list_taxonomy")), UNPARSABLE),
        "in the method": (Message(method='"method":"tools/call\\udfff",'), UNPARSABLE),
        "in the id": (Message(id='"id":"\\ud83d",'), UNPARSABLE),
        "in _meta": (Message(in_meta='"x":"\\ud800"'), UNPARSABLE),
        "two halves are a character": (value('"\\ud83d\\ude00"'), kept_note('"a":"\U0001f600"')),
        "an escaped backslash before u is text": (value('"\\\\ud800"'), kept_note('"a":"\\\\ud800"')),
    },
}

GRAMMAR: Table = {
    "something behind the document": {
        "letters": (whole(f"{GOOD_TEXT}x"), UNPARSABLE),
        "a second call": (whole(GOOD_TEXT + GOOD_TEXT), UNPARSABLE),
        "a second call on its own line": (whole(f"{GOOD_TEXT}\n{GOOD_TEXT}"), UNPARSABLE),
        "a record separator": (whole(f"\x1e{GOOD_TEXT}"), UNPARSABLE),
        "NUL": (whole(f"{GOOD_TEXT}\0"), UNPARSABLE),
        "a comma": (whole(f"{GOOD_TEXT},"), UNPARSABLE),
        "a brace": (whole(GOOD_TEXT + "}"), UNPARSABLE),
        "blanks are nothing": (whole(f" \t\r\n{GOOD_TEXT}\r\n\t "), FORWARDED),
    },
    "JSON of another kind": {
        "a block comment": (value("1/**/"), UNPARSABLE),
        "a line comment": (whole(f"{GOOD_TEXT}// x\n"), UNPARSABLE),
        "a hash comment": (whole(f"# x\n{GOOD_TEXT}"), UNPARSABLE),
        "single quotes": (noted("'a':1"), UNPARSABLE),
        "single quotes for a value": (value("'x'"), UNPARSABLE),
        "a bare key": (noted("a:1"), UNPARSABLE),
        "a bare word": (value("yes"), UNPARSABLE),
        "words in capitals": (value("True"), UNPARSABLE),
        "None": (value("None"), UNPARSABLE),
        "undefined": (value("undefined"), UNPARSABLE),
        "a comma too many in an object": (call(arguments='{"a":1,}'), UNPARSABLE),
        "a comma too many in a list": (value("[1,]"), UNPARSABLE),
        "a hole in a list": (value("[1,,2]"), UNPARSABLE),
        "no comma": (value("[1 2]"), UNPARSABLE),
        "a colon too many": (noted('"a"::1'), UNPARSABLE),
        "equals for a colon": (noted('"a"=1'), UNPARSABLE),
        "a semicolon": (noted('"a":1;"b":2'), UNPARSABLE),
        "not closed": (whole(GOOD_TEXT[:-1]), UNPARSABLE),
        "empty": (whole(""), UNPARSABLE),
        "blank": (whole("  \n"), UNPARSABLE),
    },
    "odd text": {
        "a raw line break": (value('"x\ny"'), UNPARSABLE),
        "a raw tab": (value('"x\ty"'), UNPARSABLE),
        "a raw NUL": (value('"x\0y"'), UNPARSABLE),
        "a raw escape": (value('"x\x1by"'), UNPARSABLE),
        "an unknown escape": (value('"\\x41"'), UNPARSABLE),
        "an escaped line break": (value('"x\\\ny"'), UNPARSABLE),
        "a short escape": (value('"\\u12"'), UNPARSABLE),
        "a signed escape": (value('"\\u+123"'), UNPARSABLE),
        "an escape in other digits": (value('"\\u\uff10\uff10\uff14\uff11"'), UNPARSABLE),
        "a form feed for a blank": (noted('\x0c"a":1'), UNPARSABLE),
        "a vertical tab for a blank": (noted('\x0b"a":1'), UNPARSABLE),
        "a wide blank": (noted('\u00a0"a":1'), UNPARSABLE),
        "a line separator for a blank": (noted('\u2028"a":1'), UNPARSABLE),
        "escapes are undone": (
            named('"\\u006Eame":"\\u006cist_taxonomy","argument\\u0073":{}'),
            FORWARDED,
        ),
        "a slash may be escaped": (Message(method='"method":"tools\\/call",'), FORWARDED),
        "DEL and line separators are letters": (value('"\x7f\u2028"'), kept_note('"a":"\x7f\u2028"')),
    },
}

NUMBERS: Table = {
    "no number": {
        "NaN": (value("NaN"), UNPARSABLE),
        "Infinity": (value("Infinity"), UNPARSABLE),
        "-Infinity": (value("-Infinity"), UNPARSABLE),
        "beyond a double": (value("1e400"), UNPARSABLE),
        "below a double": (value("-1e400"), UNPARSABLE),
        "beyond a double in digits": (value("9" * 400), UNPARSABLE),
        "more digits than Python reads": (value("9" * 5000), UNPARSABLE),
        "beyond a double as a price": (priced("1e400"), UNPARSABLE),
        "a leading zero": (value("01"), UNPARSABLE),
        "a plus": (value("+1"), UNPARSABLE),
        "a bare point": (value("1."), UNPARSABLE),
        "no digit before the point": (value(".5"), UNPARSABLE),
        "no exponent": (value("1e"), UNPARSABLE),
        "hexadecimal": (value("0x10"), UNPARSABLE),
        "octal": (value("0o17"), UNPARSABLE),
        "underscores": (value("1_000"), UNPARSABLE),
        "two signs": (value("--1"), UNPARSABLE),
        "other digits": (value("\u0661"), UNPARSABLE),
        "full-width digits": (value("\uff11"), UNPARSABLE),
    },
    "an integer that parsers round": {
        "in the id": (Message(id='"id":9007199254740993,'), MALFORMED),
        "in the id, negative": (Message(id='"id":-9007199254740992,'), MALFORMED),
        "in an argument that sets the price": (priced("9007199254740993"), PARAMS),
        "2^64 in an argument that sets the price": (priced("18446744073709551616"), PARAMS),
        "elsewhere its digits stay": (value("9007199254740993"), kept_note('"a":9007199254740993')),
        "2^64 elsewhere": (value("18446744073709551616"), kept_note('"a":18446744073709551616')),
        "300 digits elsewhere": (value("7" * 300), kept_note(f'"a":{"7" * 300}')),
    },
    "a number that can be written in two ways": {
        "a real as a price": (priced("2.5"), ARGUMENTS),
        "a whole real as a price": (priced("2.0"), ARGUMENTS),
        "an exponent as a price": (priced("2e0"), ARGUMENTS),
        "a boolean as a price": (priced("true"), ARGUMENTS),
        "text as a price": (priced('"2"'), ARGUMENTS),
        "zero as a price": (priced("0"), ARGUMENTS),
        "null as a price": (priced("null"), ARGUMENTS),
        "an integer as a price": (
            priced("2"),
            kept('{"limit":2}', "search_shopify_stores", uses={"requests": 1, "search_rows": 2}),
        ),
        "spellings stay": (
            value("[1.0,1E2,-0,-0.0,1e-400,0.10,1e+2]"),
            kept_note('"a":[1.0,1E2,-0,-0.0,1e-400,0.10,1e+2]'),
        ),
        "more digits than a double has": (
            value("0.1000000000000000055511151231257827"),
            kept_note('"a":0.1000000000000000055511151231257827'),
        ),
    },
    "depth": {
        "one level too many in an argument": (value(nested(LEVELS + 1)), UNPARSABLE),
        "objects": (value(nested(LEVELS, '{"a":', "}").replace(":}", ":{}}", 1)), UNPARSABLE),
        "in _meta": (Message(in_meta=f'"x":{nested(LEVELS + 1)}'), UNPARSABLE),
        "in an unknown member": (Message(more=f',"x":{nested(64)}'), UNPARSABLE),
        "a bomb": (value(nested(40_000)), UNPARSABLE),
        "a bomb that never closes": (whole("[" * 200_000), UNPARSABLE),
        "a bomb of objects": (whole('{"a":' * 40_000), UNPARSABLE),
        "behind text full of brackets": (value(f'"[[[[{{{{",  "b":{nested(LEVELS + 1)}'), UNPARSABLE),
        "as deep as may be": (value(nested(LEVELS)), kept_note(f'"a":{nested(LEVELS)}')),
        "brackets in text are text": (value(f'"{nested(500)}"'), kept_note(f'"a":"{nested(500)}"')),
        "wide is not deep": (value(f"[{'[],' * 500}[]]"), kept_note(f'"a":[{"[]," * 500}[]]')),
    },
}


@cases(BYTES)
async def test_bytes(wire: Wire, message: Message, outcome: Outcome, revision: str):
    await wire.check(await wire.post(revision, message), revision, outcome)


@cases(GRAMMAR)
async def test_grammar(wire: Wire, message: Message, outcome: Outcome, revision: str):
    await wire.check(await wire.post(revision, message), revision, outcome)


@cases(NUMBERS)
async def test_numbers(wire: Wire, message: Message, outcome: Outcome, revision: str):
    await wire.check(await wire.post(revision, message), revision, outcome)
