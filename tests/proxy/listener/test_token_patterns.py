"""Heads that differ from an accepted one in their token only: the parser and the gates would find the same facts."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.request_heads import MOST, arrived
from tests.proxy.listener.judged_heads import ACCEPT, Listener, authorized, posted, request_filter, size

OLD, NEW = b"eyJh.eyJp.c2ln", b"eyJh.eyJq.b3Ro"


@pytest.fixture
async def listener() -> Listener:
    return Listener()


async def test_a_new_token_in_a_known_head_is_found_with_its_own_facts(listener: Listener):
    assert listener.learn(authorized(OLD, b"Mcp-Name: a"))
    request = listener.found(authorized(NEW, b"Mcp-Name: a"))
    assert request is not None
    assert (request.head.token, request.access_token()) == (sha256(NEW).digest(), NEW.decode())
    assert listener.judged(request) == listener.judged(listener.parsed(authorized(NEW, b"Mcp-Name: a")))


@pytest.mark.parametrize("name", [b"authorization: Bearer ", b"Authorization: Bearer "])
@pytest.mark.parametrize("token", [b"a", b"a==", b"AZaz09-._~+/=", b"a.b.c"])
async def test_tokens_of_rfc_6750_are_found(listener: Listener, name: bytes, token: bytes):
    assert listener.learn(posted(name + b"o" * 64))
    assert listener.found(posted(name + token)) is not None
    assert listener.judged(listener.found(posted(name + token))) == listener.judged(
        listener.parsed(posted(name + token))
    )


UNUSUAL = {
    "no token": posted(),
    "empty": authorized(b""),
    "two words": authorized(b"a b"),
    "a blank behind": authorized(b"a "),
    "a tab behind": authorized(b"a\t"),
    "two blanks before": authorized(b" a"),
    "padding within": authorized(b"a=b"),
    "padding only": authorized(b"="),
    "NUL": authorized(b"a\0b"),
    "CR": authorized(b"a\rb"),
    "LF": authorized(b"a\nX: y"),
    "another line": authorized(b"a\r\nX: y"),
    "no ASCII": authorized(b"\xc3\xa9"),
    "quoted": authorized(b'"a"'),
    "comma": authorized(b"a,b"),
    "folded": authorized(b"a\r\n b"),
    "folded to nothing": authorized(b"a\r\n "),
    "a second one": authorized(b"a", b"Authorization: Bearer b"),
    "a second one in lower case": authorized(b"a", b"authorization: Bearer b"),
    "a second one in capitals": authorized(b"a", b"AUTHORIZATION: Bearer b"),
    "a second one before": posted(b"AUTHORIZATION: Bearer b", b"Authorization: Bearer a"),
    "a second one of another kind": authorized(b"a", b"Authorization: Basic b"),
    "a second one behind LF": authorized(b"a", b"X: y\nAuthorization: Bearer b"),
    "capitals": posted(b"AUTHORIZATION: Bearer a"),
    "scheme in lower case": posted(b"Authorization: bearer a"),
    "another scheme": posted(b"Authorization: Basic a"),
    "no blank": posted(b"Authorization:Bearer a"),
    "a blank before the colon": posted(b"Authorization : Bearer a"),
    "a blank before the name": posted(b" Authorization: Bearer a"),
    "in another value": posted(b"X: Authorization: Bearer a"),
    "in another name": posted(b"X-Authorization: Bearer a"),
    "longer than any before": authorized(b"a" * (len(OLD) + 1)),
}


@pytest.mark.parametrize("data", UNUSUAL.values(), ids=UNUSUAL)
async def test_unusual_authorization_goes_the_full_way(listener: Listener, data: bytes):
    assert listener.learn(authorized(OLD))
    assert listener.found(data) is None
    listener.learn(data)
    assert listener.found(data) is None or listener.judged(listener.parsed(data)) is not None


@pytest.mark.parametrize(
    "more",
    [b"X: Authorization: Bearer a", b"X-Authorization: Bearer a", b"Proxy-Authorization: Bearer a"],
)
async def test_what_looks_like_the_line_is_part_of_the_head(listener: Listener, more: bytes):
    assert listener.learn(authorized(OLD, more))
    assert listener.found(authorized(NEW, more)) is not None
    assert listener.found(authorized(NEW, more.replace(b"Bearer a", b"Bearer b"))) is None


async def test_the_key_covers_everything_but_token_and_length(listener: Listener):
    assert listener.learn(authorized(OLD, b"Mcp-Name: a"))
    good = authorized(NEW, b"Mcp-Name: a")
    assert listener.found(good.replace(b"Length: 2", b"Length: 02")) is not None
    for place in range(good.index(b"\r\n\r\n") + 4):
        if good.index(NEW) <= place < good.index(NEW) + len(NEW) or good[place : place + 1].isdigit():
            continue
        changed = bytearray(good)
        changed[place] ^= 1
        assert listener.judged(listener.found(bytes(changed))) is None, changed


async def test_heads_without_usual_token_teach_no_pattern(listener: Listener):
    """An odd line could be one that the parser reads in another way."""
    for data in UNUSUAL.values():
        arrival = arrived(data)
        listener.learn(data)
        if arrival is not None:
            arrival.find_pattern(data)
            known = listener.connection.heads._patterns.get(arrival.pattern or b"")
            assert known is None or listener.judged(listener.parsed(data)) is not None


async def test_a_head_that_the_parser_reads_in_another_way_teaches_no_pattern(listener: Listener):
    request, arrival = listener.parsed(authorized(OLD)), arrived(authorized(OLD))
    assert request is not None
    assert arrival is not None
    heads = listener.connection.heads
    heads.find(authorized(OLD), arrival)
    for values in ([], [f"Bearer {NEW.decode()}"], [f"Bearer {OLD.decode()}"] * 2):
        heads.learn(arrival, request.head, values)
        assert listener.found(authorized(NEW)) is None


# --- bounds -------------------------------------------------------------------------------------


async def test_a_longer_token_than_before_is_judged_by_the_limit(listener: Listener):
    long = authorized(b"a" * 99)
    listener.gate = request_filter(size(long))
    assert listener.learn(authorized(OLD))
    assert listener.found(long) is None
    assert listener.learn(long)
    assert listener.found(authorized(b"b" * 99)) is not None
    assert listener.found(authorized(b"b" * 100)) is None
    assert not listener.learn(authorized(b"b" * 100))
    assert listener.found(authorized(b"b" * 100)) is None


async def test_a_new_limit_is_not_met_by_a_shorter_token(listener: Listener):
    long, short = authorized(b"a" * 99), authorized(b"a")
    assert listener.learn(long)
    listener.gate = request_filter(size(long) - 1)
    request = listener.found(short)
    assert listener.judged(request) is not None
    assert request is not None
    request.remember_head()
    other = listener.found(authorized(b"c"))
    assert other is not None
    assert other.head.accepted_by is listener.gate
    assert listener.judged(listener.found(long)) is None
    assert listener.judged(listener.parsed(long)) is None


async def test_tokens_evict_no_pattern_and_patterns_are_bounded(listener: Listener):
    heads = listener.connection.heads
    for number in range(MOST + 10):
        request = listener.found(authorized(b"%08d" % number)) or listener.parsed(authorized(b"%08d" % number))
        assert listener.judged(request) is not None
        assert request is not None
        request.remember_head()
    assert (len(heads), len(heads._patterns)) == (MOST, 1)
    for number in range(MOST + 10):
        assert listener.learn(authorized(OLD, b"X: %d" % number))
    assert (len(heads), len(heads._patterns)) == (MOST, MOST)
    heads.clear()
    assert listener.found(authorized(NEW)) is None


async def test_no_token_is_shown_or_kept(listener: Listener):
    data = authorized(OLD)
    arrival = arrived(data)
    assert arrival is not None
    listener.connection.heads.find(data, arrival)
    assert OLD.decode() not in f"{arrival!r} {arrival}"
    assert listener.learn(data)
    request = listener.found(authorized(NEW))
    assert request is not None
    request.access_token()
    request.forget_head()
    kept = [getattr(request, name) for name in ClientRequest.__slots__ if hasattr(request, name)]
    assert not [each for each in kept if each in (NEW, NEW.decode()) or (isinstance(each, bytes) and NEW in each)]
    assert request._arrival is None


# --- both ways give the same --------------------------------------------------------------------

_LETTERS = b"abcXYZ019-._~+/"
WORDS = st.builds(
    lambda raw, padding: bytes(_LETTERS[byte % len(_LETTERS)] for byte in raw) + padding,
    st.binary(min_size=1, max_size=40),
    st.sampled_from([b"", b"=", b"=="]),
)
ODD = st.sampled_from(
    [
        *(b"", b"=", b"a b", b"a ", b" a", b"a\t", b"a\0b", b"a\rb", b"a\nb", b"a\r\n b", b"a\r\nX: y", b"\xc3\xa9"),
        *(b"a,b", b"a=b", b"a\r\nAuthorization: Bearer b", b"a" * 300),
    ]
)
TOKENS = st.one_of(WORDS, WORDS, WORDS, ODD)
LINES = st.lists(
    st.sampled_from(
        [
            *(b"Mcp-Name: a", b"mcp-method: tools/call", b"MCP-Protocol-Version: 2026-07-28", b"X: y", b"X: "),
            *(b" folded", b"\tfolded", b"X: y\nAuthorization: Bearer z", b"X: Authorization: Bearer z"),
            *(b"Authorization: Bearer z", b"authorization: Bearer z", b"AUTHORIZATION: Bearer z", b"X\r: y", b""),
            *(b"Connection: close", b"Host: x", b"Host: evil", b"Origin: null", b"Content-Length: 2", b"X: \0"),
            *(b"content-length: 2", b"Transfer-Encoding: chunked", b"traceparent: 00-1-2-00", b"Upgrade: h2c"),
        ]
    ),
    max_size=4,
)
NAMES = st.sampled_from(
    [
        *(b"Authorization: Bearer ",) * 6,
        *(b"authorization: Bearer ", b"AUTHORIZATION: Bearer ", b"Authorization: bearer ", b"Authorization:Bearer "),
        *(
            b"Authorization : Bearer ",
            b" Authorization: Bearer ",
            b"Authorization: Basic ",
            b"X: Authorization: Bearer ",
        ),
    ]
)
FIRST = st.sampled_from([b"POST /mcp HTTP/1.1", b"POST /mcp HTTP/1.0", b"GET /mcp HTTP/1.1", b"\r\nPOST /mcp HTTP/1.1"])
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n "])


@st.composite
def framed(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return the bytes before and after a token."""
    first, name, end = b"POST /mcp HTTP/1.1", b"Authorization: Bearer ", b"\r\n"
    if not draw(st.integers(0, 2)):
        first, name, end = draw(FIRST), draw(NAMES), draw(ENDS)
    lines: list[bytes] = draw(LINES) if draw(st.booleans()) else []
    fixed = [b"Host: x", ACCEPT, b"Content-Type: application/json", b"Content-Length: 2"]
    both = draw(st.permutations([*fixed, *lines]))
    cut = draw(st.integers(0, len(both)))
    return b"\r\n".join((first, *both[:cut], name)), end + b"\r\n".join((*both[cut:], b"", b"{}"))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Two requests with the same frame and other tokens; the second is sometimes changed at random."""
    before, behind = draw(framed())
    one, other = (before + draw(TOKENS) + behind for _ in range(2))
    if not draw(st.integers(0, 3)):
        place, byte = draw(st.integers(0, len(other) - 1)), bytes([draw(st.sampled_from(b"\r\n \t:,=\0aA\xff"))])
        other = other[:place] + byte + other[place + draw(st.integers(0, 1)) :]
    return one, other


async def test_what_is_found_is_what_the_full_way_accepts(listener: Listener):
    """With the same facts; and usual pairs are found, so that this says something."""
    found = 0

    @settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(pairs(), st.sampled_from([120, 160, 4096, 4096]))
    def holds(pair: tuple[bytes, bytes], limit: int) -> None:
        nonlocal found
        one, other = pair
        listener.connection.heads.clear()
        listener.gate = request_filter(limit)
        listener.learn(one)
        request = listener.found(other)
        if request is None:
            return
        found += 1
        full = listener.judged(listener.parsed(other))
        assert full is not None
        assert listener.judged(request) == full

    holds()
    assert found >= 100
