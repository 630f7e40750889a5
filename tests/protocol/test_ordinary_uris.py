"""Ordinary URIs skip the complete rules: both judge every URI alike."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.protocol.uris import uris
from sidecar.protocol.uris.ordinary import is_settled, ordinary_readings, unquoted
from tests.protocol.test_uris import FINE, REFUSED, SPELLINGS

STARTS = st.sampled_from(
    [
        "docs:",
        "docs:/",
        "docs://",
        "docs:///",
        "file:////",
        "X+y.z-1:",
        "a:",
        "http://h:80",
        "1a:",
        "do%63s://",
        "a//b:",
    ]
)
WORDS = ("a", "B9", "_", "-", "~", "*", "+", "x.y", "a,b", "(1)", "!$'", ".a", "a.", "a..b", "{", "}", '"', "41", "2e")
MARKS = (
    *(
        "/",
        "//",
        ":",
        "=",
        "&",
        "?",
        ":80",
        ":443",
        ":80/",
        ";",
        "#",
        "@",
        "\\",
        " ",
        "\n",
        ".",
        "..",
        "\x7f",
        "\ud800",
    ),
    *(
        "%",
        "%41",
        "%2e",
        "%20",
        "%20/",
        "%23",
        "%2f",
        "%3F",
        "%40",
        "%3a%3A",
        "%3d",
        "%25",
        "%2541",
        "%252e",
        "%25252f",
    ),
    *("%C3", "%C3%A9", "%e2%80%8b", "%EF%BC%85", "%EF%BC%8F", "%5c", "%7f", "%00", "%0a"),
)
LETTERS = (
    *("\u0130", "\u017f", "\u00e9", "\u00df", "\u0390", "\u4e2d", "\uac00", "\u0939\u093f", "\U0001f600", "\U00010400"),
    *(
        "\u0301",
        "\u0323\u0301",
        "\u0345",
        "\ufdfa",
        "\u00b4",
        "\u037e",
        "\uff1a",
        "\uff1f",
        "\uff03",
        "\uff05",
        "\uff20",
    ),
    *(
        "\uff0e",
        "\uff0f",
        "\uff21",
        "\uff14\uff11",
        "\u2025",
        "\u2100",
        "\u2044",
        "\u200b",
        "\u00a0",
        "\u3000",
        "\U000e0041",
    ),
)
PARTS = st.sampled_from([*WORDS, *MARKS, *LETTERS])
NASTY = st.builds(lambda start, parts: start + "".join(parts), STARTS, st.lists(PARTS, max_size=8))
ENCODED = st.text(max_size=8).map(lambda text: "docs://" + quote(text, errors="surrogatepass"))


def assert_agree(uri: str) -> None:
    complete = uris.complete_fault(uri)
    assert uris.fault(uri) == complete
    assert uris.readings(uri) == uris.complete_readings(uri)
    try:
        ordinary = ordinary_readings(uri)
    except ValueError:
        assert complete is not None
    else:
        assert ordinary is None or (complete is None and ordinary == uris.complete_readings(uri))
    if is_settled(uri):
        assert complete is None
        assert set(uris.complete_readings(uri)) == {uri}


@given(NASTY | SPELLINGS | ENCODED)
def test_an_ordinary_uri_is_judged_as_by_the_complete_rules(uri: str):
    assert_agree(uri)


@given(st.text(max_size=12))
def test_any_text_is_judged_as_by_the_complete_rules(text: str):
    assert_agree(f"docs://{text}")


@pytest.mark.parametrize("uri", [*FINE, *REFUSED])
def test_known_uris_are_judged_as_by_the_complete_rules(uri: str):
    assert_agree(uri)


def test_every_character_that_becomes_a_delimiter_is_judged_as_by_the_complete_rules():
    delimiters = set(" ./\\%#?;:=&@")
    made = [
        each
        for each in map(chr, range(0x80, 0x20000))
        if unicodedata.decomposition(each) and not delimiters.isdisjoint(unicodedata.normalize("NFKD", each))
    ]
    assert len(made) > 60
    for each in made:
        for uri in (
            f"docs://a{each}b",
            f"docs://a{each}..",
            f"docs://x{each}u@h",
            f"docs://a%{each}41",
            f"docs://{each}",
        ):
            assert_agree(uri)
            assert_agree(quote(uri, safe=":/@."))


@given(
    st.lists(
        st.sampled_from(["%", "=", "=3D", "41", "%41", "%C3", "%A9", "\u00e9", "\n", " ", "_", "\x00"]) | st.text()
    )
)
def test_escapes_are_decoded_as_by_the_standard_library(parts: list[str]):
    text = "".join(parts)
    expected = got = None
    with suppress(UnicodeDecodeError):
        expected = unquote_to_bytes(text.encode("utf-8", "surrogatepass")).decode()
    with suppress(UnicodeDecodeError):
        got = unquoted(text)
    assert got == expected


@given(st.text(alphabet="./a ;?:=&#", max_size=8))
def test_dot_segments_are_found_between_all_delimiters(path: str):
    uri = f"docs://{path}"
    dotted = any(part.strip(" ") in (".", "..") for part in re.split(r"[/?#;:=&]", uri))
    assert ("dot segments" in (uris.complete_fault(uri) or "")) is (dotted and not {" ", "#"} & set(path))


@pytest.mark.parametrize(
    ("uri", "ordinary"),
    [
        *(("docs://1", True), ("docs://folder/document-1.md", True), ("file:///srv/a.txt", True)),
        *(("urn:isbn:04514", True), ("https://h/A/?x=1&y=2", True), ("docs://h/a/", True), ("docs://h:80/a", True)),
        *(("docs://h/.hidden", True), ("docs://h//a", True), ("docs://caf\u00e9", True), ("docs://caf%C3%A9", True)),
        *(("docs://a%20b", True), ("docs://a;b", True), ("docs://50%25", True), ("docs://p/@s/a", True)),
        *(("docs://a%2541", True), ("docs://a%252541", False), ("docs://\u00e9%2525", False), ("docs://a\n", False)),
        ("docs://" + "a" * uris.MAX_LENGTH, False),
    ],
)
def test_ordinary_uris(uri: str, ordinary: bool):
    assert (ordinary_readings(uri) is not None) is ordinary


@pytest.mark.parametrize("uri", ["docs://%C3", "docs://a/%20../b", "docs://u%40h", "docs://a%252fb"])
def test_some_refused_uris_are_refused_at_a_glance(uri: str):
    with pytest.raises(ValueError):  # noqa: PT011  the complete rules give the reason
        ordinary_readings(uri)
    assert uris.fault(uri) is not None


@pytest.mark.parametrize(
    ("uri", "settled"),
    [
        *(("docs://1", True), ("docs://folder/document-1.md", True), ("urn:a/b", True)),
        *(("docs://A", False), ("docs://a/", False), ("docs:///a", False), ("docs://a?b", False), ("docs://a.", False)),
    ],
)
def test_settled_uris(uri: str, settled: bool):
    assert is_settled(uri) is settled
