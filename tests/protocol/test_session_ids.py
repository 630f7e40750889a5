"""Request and event ids of sessions: restored exactly, and never another session's."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import Call, Caller, CallKind, RequestId, Revision
from sidecar.protocol import results
from sidecar.protocol.jsonrpc import MAX_ID_LENGTH
from sidecar.protocol.session_ids import GET_STREAM, ExchangeIds, SessionIds, renamed
from sidecar.protocol.sse.sse import ServerEvent

CALLER = Caller("main", "https://issuer", "ann", "acme", "cli-1", frozenset(), 0, 0)
KEY = "0f" * 32
MINE = SessionIds.of(KEY, CALLER, "session-1")
OTHERS = {
    "session": SessionIds.of(KEY, CALLER, "session-2"),
    "key": SessionIds.of("f0" * 32, CALLER, "session-1"),
    "issuer": SessionIds.of(KEY, replace(CALLER, issuer_id="other"), "session-1"),
    "subject": SessionIds.of(KEY, replace(CALLER, subject="other"), "session-1"),
    "account": SessionIds.of(KEY, replace(CALLER, account="other"), "session-1"),
    "client": SessionIds.of(KEY, replace(CALLER, client_id="other"), "session-1"),
}
IDS = st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_ID_LENGTH)
EVENT_IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)
STREAMS = st.just(GET_STREAM) | st.builds(MINE.stream, IDS)


def request(id_: RequestId, **changes: Any) -> Call:
    return Call(CallKind.REQUEST, Revision.V2025_11_25, "tools/call", id_, session="session-1", **changes)


def answer(id_: RequestId, **members: Any) -> results.Response:
    return results.read_response(orjson.dumps({"jsonrpc": "2.0", "id": id_, "result": members}))


# --- request ids ---------------------------------------------------------------------------------


@given(IDS)
def test_an_id_is_restored_with_its_type(id_: RequestId):
    restored = MINE.restored(MINE.request(id_))
    assert (restored, type(restored)) == (id_, type(id_))


@given(IDS, IDS)
def test_different_ids_stay_different(one: RequestId, other: RequestId):
    assert (MINE.request(one) == MINE.request(other)) == ((type(one), one) == (type(other), other))


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@given(IDS)
def test_no_other_session_has_the_id(other: SessionIds, id_: RequestId):
    assert other.restored(MINE.request(id_)) is None


@given(IDS)
def test_an_id_that_a_client_made_up_is_no_other_session_s(id_: RequestId):
    """Clients choose their ids: one that knows another's tag still sends it behind its own."""
    theirs = OTHERS["session"]
    forged = theirs.request(id_)
    assert MINE.restored(MINE.request(forged[:MAX_ID_LENGTH])) == forged[:MAX_ID_LENGTH]
    assert theirs.restored(MINE.request(forged)) is None


@given(st.text() | st.integers())
def test_an_id_that_was_never_sent_is_not_restored(id_: RequestId):
    assert MINE.restored(id_) is None


@pytest.mark.parametrize(
    "rest", ["", ".", ".i", ".i07", ".i-0", ".i1e3", ".i1.0", ".i 1", ".i\uff11", ".x1", "i1", f".i{10**17}"]
)
def test_an_integer_is_spelt_in_one_way(rest: str):
    assert MINE.restored(MINE.tag + rest) is None


@given(IDS)
def test_the_longest_id_is_read_in_an_answer(id_: RequestId):
    assert answer(MINE.request(id_)).id == MINE.request(id_)


def test_ids_of_the_python_sdk_are_not_taken_for_numbers():
    """It reads "7" and " +7 " as 7."""
    with pytest.raises(ValueError, match="invalid literal"):
        int(MINE.request(7))


# --- event ids -----------------------------------------------------------------------------------


@given(STREAMS, EVENT_IDS)
def test_an_event_id_comes_back_as_the_backend_gave_it(stream: str, event: str):
    marked = MINE.event(stream, event)
    assert marked is not None
    assert MINE.resumed(marked) == (stream, event)
    assert [other.resumed(marked) for other in OTHERS.values()] == [None] * len(OTHERS)


@given(STREAMS, EVENT_IDS, st.data())
def test_an_edited_event_id_is_refused(stream: str, event: str, data: st.DataObject):
    marked = MINE.event(stream, event)
    assert marked is not None
    at = data.draw(st.integers(0, len(marked) - 1))
    put = data.draw(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=3))
    edited = marked[:at] + put + marked[at + 1 :]
    assert edited == marked or MINE.resumed(edited) is None


@given(st.text())
def test_any_other_text_is_no_event_id(text: str):
    assert MINE.resumed(text) is None


@pytest.mark.parametrize("event", ["ü", "a\tb", " a", "a ", "\x7f", "a\rb"])
def test_an_event_id_that_no_header_carries_is_not_given_to_clients(event: str):
    ids = ExchangeIds(request(1), MINE)
    assert ids.event(ServerEvent("x", event)) == ServerEvent("x")


def test_a_stream_is_not_another_request_s():
    assert len({MINE.stream(1), MINE.stream("1"), MINE.stream(2), GET_STREAM}) == 4


def test_a_tag_does_not_tell_how_event_ids_are_made():
    assert MINE.event(GET_STREAM, "1") != SessionIds(MINE.tag, bytes.fromhex(MINE.tag)).event(GET_STREAM, "1")


def test_the_secret_is_in_no_text_about_a_session():
    assert MINE.tag in repr(MINE)
    assert repr(MINE) == repr(SessionIds(MINE.tag, b""))


# --- exchanges -----------------------------------------------------------------------------------


@given(IDS)
def test_an_exchange_takes_the_answer_to_its_own_request_alone(id_: RequestId):
    ids = ExchangeIds(request(id_), MINE)
    sent = ids.document({"jsonrpc": "2.0", "id": id_, "method": "tools/call"})
    assert list(sent) == ["jsonrpc", "id", "method"]
    own = ids.own(answer(sent["id"]))
    assert own is not None
    assert (own.id, own.message["id"]) == (id_, id_)
    for foreign in (id_, MINE.request(f"x{id_}"[:MAX_ID_LENGTH]), OTHERS["session"].request(id_)):
        assert foreign == sent["id"] or ids.own(answer(foreign)) is None


def test_a_new_get_stream_takes_the_session_s_answers_and_a_resumed_one_its_own():
    get = Call(CallKind.STREAM, Revision.V2025_11_25, session="session-1")
    fresh, resumed, bare = ExchangeIds(get, MINE), ExchangeIds(get, MINE, MINE.stream(7)), ExchangeIds(get)
    seven, eight, foreign = answer(MINE.request(7)), answer(MINE.request(8)), answer(OTHERS["session"].request(7))
    for ids, taken in ((fresh, [7, 8, None, None]), (resumed, [7, None, None, None]), (bare, [None] * 4)):
        found = [ids.own(each) for each in (seven, eight, foreign, answer(7))]
        assert [each and each.id for each in found] == taken


def test_a_cancellation_names_what_the_backend_has_seen_and_a_response_stays():
    cancel = Call(CallKind.NOTIFICATION, Revision.V2025_11_25, "notifications/cancelled", session="session-1")
    said = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": " 7 ", "reason": "no"}}
    sent = ExchangeIds(cancel, MINE).document(said, 7)
    assert sent["params"] == {"requestId": MINE.request(7), "reason": "no"}
    response = Call(CallKind.RESPONSE, Revision.V2025_11_25, id=5, session="session-1")
    document = {"jsonrpc": "2.0", "id": 5, "result": {}}
    assert ExchangeIds(response, MINE).document(document) == document


@pytest.mark.parametrize("revision", list(Revision))
def test_without_a_session_ids_stay_as_they_are(revision: Revision):
    call = replace(request(7), revision=revision, session=None)
    ids = ExchangeIds(call)
    document = {"jsonrpc": "2.0", "id": 7}
    response, event = answer(7), ServerEvent("x", "1")
    assert ids.document(document) is document
    assert ids.own(response) is response
    assert ids.event(event) is event
    assert ids.refused(b'{"id": 7}') == b'{"id": 7}'


# --- texts ---------------------------------------------------------------------------------------

SENT = MINE.request("ü/7")
SPELT = {
    "as it was sent": json.dumps(SENT, ensure_ascii=False),
    "escaped": json.dumps(SENT),
    "with an escaped slash": json.dumps(SENT).replace("/", "\\/"),
}


@pytest.mark.parametrize("spelt", SPELT.values(), ids=SPELT)
@pytest.mark.parametrize(
    "text",
    [
        '{"jsonrpc":"2.0","id":ID,"result":{"n":1.0,"big":123456789012345678901,"half":"\\ud800"}}',
        '{\n "id" :\tID ,"jsonrpc":"2.0","result":{}}',
        '{"result":{"id":ID,"text":"\\"id\\":ID?"},"jsonrpc":"2.0","id":ID}',
        '{"result":{"id":ID},"i\\u0064":ID}',
        '{"result":{"x\\"id":ID},"id":ID}',
    ],
)
def test_nothing_but_the_id_changes_in_a_text(text: str, spelt: str):
    inner = '"\\"id\\":ID?"'
    sent = text.replace(inner, '"QUOTED"').replace("ID", spelt).replace('"QUOTED"', inner)
    changed = renamed(sent, SENT, "ü/7")
    own, theirs = json.loads(changed), json.loads(sent)
    assert own["id"] == "ü/7"
    assert {**own, "id": None} == {**theirs, "id": None}
    assert re.sub(r"\s", "", changed).count("1.0") == sent.count("1.0")
    assert "\\ud800" not in sent or "\\ud800" in changed


@given(
    st.recursive(st.none() | st.text() | st.just(SENT), lambda each: st.lists(each) | st.dictionaries(st.text(), each))
)
def test_every_result_stays_unchanged(result: Any):
    text = json.dumps({"result": {"value": result}, "id": SENT})
    assert json.loads(renamed(text, SENT, 7)) == {"result": {"value": result}, "id": 7}


REFUSALS = {
    "another's id": b'{"jsonrpc": "2.0", "id": "server-error", "error": {"code": 1}}',
    "no id": b'{"jsonrpc":  "2.0", "id": null, "error": {}}',
    "text": f"no such request: {MINE.request(7)}".encode(),
    "a list": json.dumps([{"id": MINE.request(7)}]).encode(),
    "not utf-8": b"\xff" + MINE.request(7).encode(),
    "empty": b"",
}


@pytest.mark.parametrize("body", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_without_the_request_s_id_is_relayed_byte_for_byte(body: bytes):
    assert ExchangeIds(request(7), MINE).refused(body) == body


def test_a_refusal_has_the_client_s_id():
    body = b'{ "jsonrpc": "2.0", "error": {"code": -32000, "data": 1.0}, "id": "%s"}' % MINE.request(7).encode()
    expected = b'{ "jsonrpc": "2.0", "error": {"code": -32000, "data": 1.0}, "id": 7}'
    assert ExchangeIds(request(7), MINE).refused(body) == expected
