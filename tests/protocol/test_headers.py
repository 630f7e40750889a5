from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import decode_header_value

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind, Revision
from sidecar.protocol import headers
from sidecar.protocol.jsonrpc import Message

CALL = Message(CallKind.REQUEST, 1, "tools/call", {"name": "søk"})


def code(caught: pytest.ExceptionInfo[Refusal]) -> ErrorCode:
    return caught.value.code


def test_reading_ignores_case_and_surrounding_blanks():
    read = headers.read(
        [
            ("Host", "example.com"),
            ("MCP-PROTOCOL-VERSION", "2026-07-28 "),
            ("mcp-method", " tools/call"),
            ("Mcp-Name", "=?base64?c8O4aw==?="),
            ("Mcp-Session-Id", "abc"),
            ("Mcp-Param-Region", "eu"),
            ("Mcp_Name", "dropped"),
        ]
    )
    assert read == headers.McpHeaders("2026-07-28", "tools/call", "søk", "abc", (("Mcp-Param-Region", "eu"),))


def test_nothing_is_read_from_other_headers():
    assert headers.read([("X-Mcp-Name", "a"), ("Authorization", "Bearer x"), ("Authorization", "é")]) == (
        headers.McpHeaders()
    )


@pytest.mark.parametrize(
    "pairs",
    [
        [("Mcp-Name", "a"), ("mcp-name", "a")],
        [("MCP-Protocol-Version", "2025-11-25"), ("MCP-Protocol-Version", "2026-07-28")],
        [("Mcp-Param-Region", "eu"), ("MCP-PARAM-REGION", "us")],
        [("Mcp-Session-Id", "a"), ("Mcp-Session-Id", "b")],
        [("Mcp-Unheard-Of", "1"), ("Mcp-Unheard-Of", "1")],
        [("Mcp-Name", "søk")],
        [("Mcp-Name", "a\udcffb")],
        [("Mcp-Name", "a\nb")],
        [("Mcp-Name", "=?BASE64?c8O4aw==?=")],
        [("Mcp-Name", "=?base64?c8O4aw==")],
        [("Mcp-Name", "=?base64?!!?=")],
        [("Mcp-Name", "=?base64?/w==?=")],
        [("Mcp-Name", "=?base64?c8O4ax==?=")],
        [("Mcp-Name", "=?base64?c8O4aw?=")],
        [("Mcp-Name", "=?base64?")],
    ],
    ids=str,
)
def test_ambiguous_headers_are_refused(pairs: list[tuple[str, str]]):
    with pytest.raises(Refusal) as caught:
        headers.read(pairs)
    assert code(caught) is ErrorCode.HEADER_MISMATCH


@pytest.mark.parametrize("required", [True, False])
def test_agreeing_mirrors_pass(required: bool):
    headers.check_mirrors(headers.McpHeaders(method="tools/call", name="søk"), CALL, required=required)


@pytest.mark.parametrize(
    "sent",
    [
        headers.McpHeaders(method="tools/list", name="søk"),
        headers.McpHeaders(method="Tools/Call", name="søk"),
        headers.McpHeaders(method="tools/call", name="reveal"),
        headers.McpHeaders(method="tools/call", name=""),
    ],
)
@pytest.mark.parametrize("required", [True, False])
def test_disagreeing_mirrors_are_refused_in_every_revision(sent: headers.McpHeaders, required: bool):
    with pytest.raises(Refusal) as caught:
        headers.check_mirrors(sent, CALL, required=required)
    assert code(caught) is ErrorCode.HEADER_MISMATCH


@pytest.mark.parametrize("sent", [headers.McpHeaders(), headers.McpHeaders(method="tools/call")])
def test_missing_mirrors_are_refused_only_where_they_are_required(sent: headers.McpHeaders):
    headers.check_mirrors(sent, CALL, required=False)
    with pytest.raises(Refusal):
        headers.check_mirrors(sent, CALL, required=True)


def test_a_name_without_anything_to_mirror_is_refused():
    listing = Message(CallKind.REQUEST, 1, "tools/list", {"name": "orphan"})
    with pytest.raises(Refusal):
        headers.check_mirrors(headers.McpHeaders(method="tools/list", name="orphan"), listing, required=True)


@pytest.mark.parametrize("session", [None, "a", "~!" * 500])
def test_well_formed_session_ids(session: str | None):
    assert headers.check_session(session) == session


@pytest.mark.parametrize("session", ["", "a b", "a\tb", "x" * 1025])
def test_malformed_session_ids_are_unknown(session: str):
    with pytest.raises(Refusal) as caught:
        headers.check_session(session)
    assert code(caught) is ErrorCode.SESSION_UNKNOWN


@pytest.mark.parametrize(
    "value",
    ["application/json", " Application/JSON ", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'],
)
def test_json_in_utf_8_is_served(value: str):
    headers.check_content([value], [])


@pytest.mark.parametrize(
    ("types", "encodings"),
    [
        ([], []),
        (["application/json", "application/json"], []),
        (["application/json, text/plain"], []),
        (["text/plain"], []),
        (["application/jsonp"], []),
        (["application/json; charset=utf-7"], []),
        (["application/json; charset=utf-16"], []),
        (["application/json; charset=utf-8; charset=utf-7"], []),
        (["application/json; profile=x"], []),
        (["multipart/form-data; boundary=application/json"], []),
        (["application/json"], ["gzip"]),
        (["application/json"], ["identity"]),
        (["application/json"], [""]),
    ],
    ids=str,
)
def test_other_media_types_are_refused(types: list[str], encodings: list[str]):
    with pytest.raises(Refusal) as caught:
        headers.check_content(types, encodings)
    assert code(caught) is ErrorCode.MEDIA_TYPE_UNSUPPORTED


@pytest.mark.parametrize(
    ("values", "method"),
    [
        (["application/json, text/event-stream"], "POST"),
        (["text/event-stream;q=0.5", "APPLICATION/JSON"], "POST"),
        (["*/*"], "POST"),
        (["application/*, text/*"], "POST"),
        (["text/event-stream"], "GET"),
        ([], "DELETE"),
    ],
    ids=str,
)
def test_clients_that_can_read_the_answer(values: list[str], method: str):
    headers.check_accept(values, method)


@pytest.mark.parametrize(
    ("values", "method"),
    [
        ([], "POST"),
        (["application/json"], "POST"),
        (["text/event-stream"], "POST"),
        (["application/json, text/event-stream;q=0"], "POST"),
        (["application/json, text/event-stream; q=0.000"], "POST"),
        (["application/json"], "GET"),
        (["text/html"], "GET"),
    ],
    ids=str,
)
def test_clients_that_cannot_read_the_answer_are_refused(values: list[str], method: str):
    with pytest.raises(Refusal) as caught:
        headers.check_accept(values, method)
    assert code(caught) is ErrorCode.NOT_ACCEPTABLE


def test_a_stateless_call_is_forwarded_with_headers_made_from_its_body():
    call = Call(
        CallKind.REQUEST,
        Revision.V2026_07_28,
        "resources/read",
        1,
        {"uri": "docs://é"},
        {},
        None,
        (("Mcp-Param-A", "1"),),
    )
    assert headers.backend_headers(call) == (
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "resources/read"),
        ("Mcp-Name", "=?base64?ZG9jczovL8Op?="),
        ("Mcp-Param-A", "1"),
    )


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Call(CallKind.REQUEST, Revision.V2025_03_26, "ping", 1), ()),
        (Call(CallKind.REQUEST, Revision.V2025_11_25, "initialize", 1), ()),
        (
            Call(CallKind.REQUEST, Revision.V2025_06_18, "tools/call", 1, {"name": "a"}, session="s"),
            (("MCP-Protocol-Version", "2025-06-18"), ("Mcp-Session-Id", "s")),
        ),
        (
            Call(CallKind.STREAM, Revision.V2025_11_25, session="s"),
            (("MCP-Protocol-Version", "2025-11-25"), ("Mcp-Session-Id", "s")),
        ),
    ],
    ids=str,
)
def test_an_older_call_is_forwarded_with_its_version_and_session(call: Call, expected: tuple[tuple[str, str], ...]):
    assert headers.backend_headers(call) == expected


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.from_regex(r"\s?=\?base64\?.*\?=\s?"))
def test_encoded_values_are_safe_and_mean_the_same_to_the_official_sdk(value: str):
    encoded = headers.encode(value)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert encoded == encoded.strip()
    assert decode_header_value(encoded) == value
    assert headers.read([("Mcp-Name", encoded)]).name == value


NAMES = ("mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id", "mcp-param-a", "mcp-x", "last-event-id")
OTHERS = ("last-modified", "mcp_name", "x-mcp-name", "m", "", "\u212acp-name", "la\u017ft-event-id")


@given(
    st.lists(
        st.tuples(
            st.sampled_from((*NAMES, *OTHERS)).flatmap(
                lambda name: st.sampled_from((name, name.upper(), name.title()))
            ),
            st.sampled_from(
                ("", "a", "b c", " a ", "\ta", "é", "=?base64?YQ==?=", "=?Base64?YQ==?=", "=?base64?Y?=", "=?")
            ),
        ),
        max_size=4,
    )
)
def test_headers_are_read_as_by_a_simple_reader(pairs: list[tuple[str, str]]):
    ours = [(name.lower(), value) for name, value in pairs if name.lower() in NAMES]
    sent = {name: value.strip() for name, value in ours}
    clear = len(sent) == len(ours) and all(32 <= ord(each) < 127 for _, value in ours for each in value)
    encoded = sent.get("mcp-name", "").lower().startswith("=?base64?")
    if not clear or (encoded and sent["mcp-name"] != "=?base64?YQ==?="):
        with pytest.raises(Refusal) as caught:
            headers.read(pairs)
        assert code(caught) is ErrorCode.HEADER_MISMATCH
        return
    read = headers.read(pairs)
    assert (read.version, read.method) == (sent.get("mcp-protocol-version"), sent.get("mcp-method"))
    assert (read.session, read.last_event_id) == (sent.get("mcp-session-id"), sent.get("last-event-id"))
    assert read.name == ("a" if encoded else sent.get("mcp-name"))
    assert [value for _, value in read.params] == [value for name, value in sent.items() if name == "mcp-param-a"]
