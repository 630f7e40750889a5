"""HTML that hostile text cannot leave, and parameters read like browsers write them."""

from __future__ import annotations

import string
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.account_page.web.browser_request import MAX_FIELDS, BadRequestError, origin_of, pairs
from sidecar.account_page.web.markup import Markup, UnsafeLinkError, render, shown, tag

TEXT = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("<>&\"'=/ `")))


class Reader(HTMLParser):
    """Elements with their attributes, and text, as a browser finds them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


@given(TEXT, TEXT)
def test_text_and_attributes_come_back_as_they_were(text: str, value: str):
    read = Reader(render(tag("p", text, title=value, hidden=True, lang=None)))
    assert read.found == [("p", {"title": value, "hidden": None})]
    assert read.words.replace("\r", "\n") == text.replace("\r", "\n")


@given(st.lists(TEXT))
def test_several_nodes_are_joined(texts: list[str]):
    assert render(texts, None, Markup("<hr>")) == "".join(render(each) for each in texts) + "<hr>"


@given(st.text(string.ascii_letters + ":/", max_size=12))
def test_links_have_schemes_of_the_page_only(target: str):
    fine = target.startswith(("https://", "http://", "vscode:", "cursor:", "/")) and not target.startswith("//")
    if fine:
        assert Reader(render(tag("a", "x", href=target))).found == [("a", {"href": target})]
    else:
        with pytest.raises(UnsafeLinkError):
            tag("a", "x", href=target)


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "JaVaScRiPt:x", " javascript:x", "data:text/html,x", "//evil", ""]
)
def test_other_links_are_refused(target: str):
    with pytest.raises(UnsafeLinkError):
        tag("form", action=target)


@given(st.text(), st.integers(1, 50))
def test_shown_text_is_short_and_visible(text: str, limit: int):
    found = shown(text, limit)
    assert len(found) <= limit
    assert all(each.isprintable() or each == "\N{REPLACEMENT CHARACTER}" for each in found)
    assert found == text or len(text) > limit or not text.isprintable()


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), TEXT, max_size=MAX_FIELDS))
def test_parameters_come_back_as_they_were(fields: dict[str, str]):
    assert pairs(urlencode(fields), 100_000) == fields


@given(st.text())
def test_any_parameters_are_read_or_refused(text: str):
    try:
        found = pairs(text, 1000)
    except BadRequestError:
        return
    assert len(found) <= MAX_FIELDS


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://mcp.example.com/mcp", "https://mcp.example.com"),
        ("https://MCP.example.com:443/mcp", "https://mcp.example.com"),
        ("https://mcp.example.com:8443/mcp", "https://mcp.example.com:8443"),
        ("http://[::1]:80/mcp", "http://[::1]"),
    ],
)
def test_origins_are_those_of_browsers(url: str, origin: str):
    assert origin_of(url) == origin
