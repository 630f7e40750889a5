"""URIs that every reader takes for one resource, and those that are refused because some would not."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.protocol.uris import uris

FINE = [
    *(
        "docs://taxonomy",
        "docs://a/b/c",
        "file:///srv/a.txt",
        "https://example.com:8443/a?b=c&d",
        "urn:isbn:0451450523",
    ),
    *("test://static-text", "mailto:someone@example.com", "docs://caf\u00e9", "docs://caf%C3%A9", "docs://a%20b"),
    *("docs://a/.hidden", "docs://a/..hidden", "docs://a/b..", "docs://a/...", "docs://a/x.y", "docs://a~b/-_"),
    *("docs://50%25", "docs://C%23/?q=%3F", "docs://a//b/", "docs://[::1]/x", "docs://\u6771\u4eac/\U0001f600"),
    *("docs://a/%41", "docs://a/%2541", "docs://a/{x}", "X-y.z+1:a", "docs://" + "a" * 8000),
    *("docs://e\u0301", "docs://a" + "\u0301\u0323" * 15, "docs://" + "." * 8000 + "a"),
]
BACKSLASH = "not contain backslashes, or encoded dots"
LOOKS = "look like a dot"
DOTS = "not contain dot segments"
REFUSED = {
    "": "between 1 and 8192",
    "docs://" + "a" * 9000: "between 1 and 8192",
    "/etc/passwd": "must begin with its scheme",
    "taxonomy": "must begin with its scheme",
    "1docs://a": "must begin with its scheme",
    "://a": "must begin with its scheme",
    " docs://a": "must begin with its scheme",
    "docs://a b": "spaces or control",
    "docs://a\n": "spaces or control",
    "docs://a\t/b": "spaces or control",
    "docs://a\x00": "spaces or control",
    "docs://a\u00a0b": "spaces or control",
    "docs://a\u200bb": "spaces or control",
    "docs://a\u2028b": "spaces or control",
    "docs://a\u0085b": "spaces or control",
    "docs://a#b": "must not have a fragment",
    "docs://a#": "must not have a fragment",
    "docs://a%": "two hexadecimal digits",
    "docs://a%2": "two hexadecimal digits",
    "docs://a%u002e": "two hexadecimal digits",
    "docs://a%\uff12e": "two hexadecimal digits",
    "docs://a/%C0%AE%C0%AE/b": "UTF-8",
    "docs://a/%FF": "UTF-8",
    "docs://a/%25C0%25AE": "UTF-8",
    "docs://a/%" + "25" * 9 + "41": "several times",
    "docs://a/%2525252525" + "41": "several times",
    "docs://a/../b": DOTS,
    "docs://a/./b": DOTS,
    "docs://a/..": DOTS,
    "docs://a/.": DOTS,
    "docs://..": DOTS,
    "docs://../a": DOTS,
    "docs:..": DOTS,
    "docs:./a": DOTS,
    "file:///../etc/passwd": DOTS,
    "docs://a/..;/b": DOTS,
    "docs://a/..;x=1/b": DOTS,
    "docs://a/..?b": DOTS,
    "docs://a?x=../b": DOTS,
    "docs://a/..%20/b": DOTS,
    "docs://a/..%3B/b": DOTS,
    "docs://a/..%3f": DOTS,
    "docs://a/.%E2%80%8B./b": DOTS,
    "docs://a/%2e%2e/b": BACKSLASH,
    "docs://a/%2E%2E/b": BACKSLASH,
    "docs://a/.%2e/b": BACKSLASH,
    "docs://a/x%2ey": BACKSLASH,
    "docs://a%2fb": BACKSLASH,
    "docs://a%2Fb": BACKSLASH,
    "docs://a%5cb": BACKSLASH,
    "docs://a%5Cb": BACKSLASH,
    "docs://a\\b": BACKSLASH,
    "docs://a/..\\b": BACKSLASH,
    "docs://a%00": BACKSLASH,
    "docs://a%0d%0aX": BACKSLASH,
    "docs://a%7f": BACKSLASH,
    "docs://a%252fb": BACKSLASH,
    "docs://a/%252e%252e/b": BACKSLASH,
    "docs://a/%25252e%25252e/b": BACKSLASH,
    "docs://a%255cb": BACKSLASH,
    "docs://a%2500": BACKSLASH,
    "docs://a/%%32e": "two hexadecimal digits",
    "docs://a/%25%32%65": BACKSLASH,
    "docs://a/%25%EF%BC%92%EF%BD%85": BACKSLASH,
    "docs://a/%25\u200b2e": "spaces or control",
    "docs://a/%25%E2%80%8B2e": BACKSLASH,
    "docs://a/\uff0e\uff0e/b": LOOKS,
    "docs://a/%EF%BC%8E%EF%BC%8E/b": LOOKS,
    "docs://a/\u2024./b": LOOKS,
    "docs://a/\u2025/b": LOOKS,
    "docs://a\u2026": LOOKS,
    "docs://a\uff0fb": LOOKS,
    "docs://a%EF%BC%8Fb": LOOKS,
    "docs://a\uff3cb": LOOKS,
    "docs://a\ufe68b": LOOKS,
    "docs://a\u2100": LOOKS,
    "docs://a\u2044b": LOOKS,
    "docs://a\u2215b": LOOKS,
    "docs://a\uff052eb": LOOKS,
    "docs://a%C2%85": LOOKS,
    "docs://a%E2%80%A8": LOOKS,
    "https://user@evil.example/": "must not name a user",
    "https://good.example:pw@evil.example/": "must not name a user",
    "https://good.example%40evil.example/": "must not name a user",
    "https://good.example%2540evil.example/": "must not name a user",
    "https://good.example\uff20evil.example/": "must not name a user",
    "docs://a@b": "must not name a user",
    "docs://a" + "\u0301\u0323" * 16: "at most 30 combining marks",
    "docs://a" + quote("\u0301\u0323" * 16): "at most 30 combining marks",
    "docs://a" + quote(quote("\u0301" * 31)): "at most 30 combining marks",
    "docs://a" + quote("\u0301\u200b" * 31): "at most 30 combining marks",
}


@pytest.mark.parametrize("uri", FINE)
def test_uris_that_are_served(uri: str):
    assert uris.fault(uri) is None


@pytest.mark.parametrize(
    ("uri", "why"), REFUSED.items(), ids=lambda value: value[:40].encode("unicode_escape").decode()
)
def test_uris_that_readers_may_resolve_differently_are_refused(uri: str, why: str):
    sentence = uris.fault(uri)
    assert sentence is not None
    assert why in sentence


def test_a_fault_never_quotes_the_uri():
    assert all("evil" not in (uris.fault(uri) or "") for uri in REFUSED)


# Parts of URIs that two readers may resolve differently.
PIECES = st.sampled_from(
    [
        *("/", "..", ".", "%2e", "%2E", "%252e", "%2f", "%5c", "\\", "%25", "%", "2e", "a", "B", ";", "?", "#", "@"),
        *("%00", "%20", " ", "\uff0e", "\uff0f", "%EF%BC%8E", "\u2025", "\u200b", "%E2%80%8B", "//", ":", "&", "="),
        *("%C0", "%AE", "%32", "%65", "\n", "{", "}"),
    ]
)
SPELLINGS = st.lists(PIECES | st.characters(), max_size=14).map(lambda parts: "docs://h/" + "".join(parts))


def loosest(text: str) -> str:
    """As the most lenient backend reads it: everything decoded and folded, as often as it goes."""
    for _ in range(20):
        decoded = unicodedata.normalize("NFKC", unquote(text, errors="replace"))
        if decoded == text:
            break
        text = decoded
    return "".join(each for each in text if unicodedata.category(each) != "Cf")


@given(SPELLINGS)
def test_accepted_uris_have_no_dot_segments_however_often_they_are_decoded(uri: str):
    if uris.fault(uri) is not None:
        return
    for reading in (uri, unquote(uri), unquote(unquote(uri)), loosest(uri)):
        segments = re.split(r"[/\\?;#]", reading)
        assert not {".", ".."} & {segment.strip() for segment in segments}
        assert reading.count("/") == uri.count("/")
        assert reading.count(".") == uri.count(".")
        assert "\\" not in reading
        assert not any(unicodedata.category(each) == "Cc" for each in reading)
        assert "@" not in reading.split("/")[2]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))
def test_every_text_is_accepted_or_refused(text: str):
    for uri in (text, f"docs://{text}", f"docs://{quote(text)}"):
        assert uris.fault(uri) is None or isinstance(uris.fault(uri), str)
        assert list(uris.readings(uri))


def test_decoding_ends_however_deep_the_layers_are():
    assert uris.fault("docs://%" + "25" * 4000 + "41") is not None
    assert uris.fault("docs://" + "%25" * 2700 + "41") is None


# --- readings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "folded", "bare"),
    [
        ("docs://a/b", "docs://a/b", "docs://a/b"),
        ("DOCS://A/b%63", "docs://a/bc", "docs://a/bc"),
        ("docs://a//b///c", "docs://a/b/c", "docs://a/b/c"),
        ("docs:////a", "docs://a", "docs://a"),
        ("docs://a/b;x=1/c?d#e", "docs://a/b;x=1/c?d#e", "docs://a/b/c"),
        ("docs://a/b%3Fc", "docs://a/b?c", "docs://a/b"),
        ("docs://a/%EF%BC%A1", "docs://a/a", "docs://a/a"),
        ("docs://a/%E2%80%8Bb", "docs://a/b", "docs://a/b"),
        ("docs://stra\u00dfe", "docs://strasse", "docs://strasse"),
    ],
)
def test_readings_of_lenient_readers(uri: str, folded: str, bare: str):
    assert list(uris.readings(uri))[:2] == [folded, bare]


# --- patterns and templates ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("literals", "fine"),
    [
        (["docs://", ""], True),
        (["", ""], True),
        (["", "://a"], True),
        (["docs", ""], True),
        (["docs://a/", "/b"], True),
        (["docs://a/.", ""], True),
        (["docs://a/../", ""], False),
        (["", "/../a"], False),
        (["", "://u@a"], False),
        (["docs://a#", ""], False),
        (["docs://a b", ""], False),
        (["taxonomy"], False),
    ],
)
def test_literals_around_wildcards_must_be_possible_in_a_uri(literals: list[str], fine: bool):
    assert (uris.fault_around(literals) is None) is fine


def test_the_literals_of_a_template():
    assert uris.template_literals("docs://{a}/b{?c,d*}") == ["docs://", "/b", ""]
    assert uris.template_literals("docs://a") == ["docs://a"]
