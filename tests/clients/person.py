"""A person with a browser: signs in at an authorization server, approves what a client asks for, and withdraws it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

CALLBACK = "http://127.0.0.1:1/callback"
"""Redirect URI of the tests' clients: the browser stops there."""
MAX_PAGES = 20


@dataclass(slots=True)
class Form:
    """A form of a page: its fields, with what they hold already."""

    fields: dict[str, str] = field(default_factory=dict)
    label: str = ""


class Forms(HTMLParser):
    """The forms of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.forms.append(Form())
        elif tag == "input" and self.forms:
            self.forms[-1].fields[given["name"] or ""] = given.get("value") or ""

    def handle_data(self, data: str) -> None:
        if self.forms:
            self.forms[-1].label += data


@dataclass(slots=True)
class Person:
    """A browser with cookies, and its owner.

    Attributes:
        url: `url?to=PAGE` redirects to the browser's last page: a client's login, in one request.
        typed: values that the owner types into empty fields.
        approved: paths of the pages whose form was submitted, in order.
    """

    url: str
    typed: dict[str, str]
    browser: aiohttp.ClientSession
    approved: list[str] = field(default_factory=list)

    async def visit(self, page: str) -> str:
        """Follow redirects, and submit the one form of each page, until the client's callback; gives its URL."""
        async with asyncio.timeout(60):
            answer = await self.browser.get(page, allow_redirects=False)
            for _ in range(MAX_PAGES):
                if answer.status in (302, 303):
                    place = urljoin(str(answer.url), answer.headers["Location"])
                    if place.startswith(CALLBACK):
                        return place
                    answer = await self.browser.get(place, allow_redirects=False)
                else:
                    body = await answer.text()
                    assert answer.status == 200, f"{answer.url}: {answer.status} {body}"
                    [form] = Forms(body).forms
                    answer = await self.submit(str(answer.url), form)
        raise AssertionError(f"{page}: more than {MAX_PAGES} pages")

    async def submit(self, page: str, form: Form) -> aiohttp.ClientResponse:
        """Fill in a form and send it to its own page."""
        self.approved.append(urlsplit(page).path)
        fields = {name: value or self.typed[name] for name, value in form.fields.items()}
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(page))
        return await self.browser.post(page, data=fields, headers={"Origin": origin}, allow_redirects=False)

    async def withdraw(self, page: str, client: str) -> None:
        """Submit the form of a page that names the client."""
        async with self.browser.get(page) as answer:
            forms = Forms(await answer.text()).forms
        [form] = [each for each in forms if client in each.label]
        answer = await self.submit(page, form)
        assert answer.status in (302, 303), await answer.text()


@asynccontextmanager
async def person(**typed: str) -> AsyncIterator[Person]:
    """A person who types this, and a browser that clients can be sent to."""

    async def come(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": await owner.visit(request.query["to"])})

    app = web.Application()
    app.router.add_get("/", come)
    async with TestServer(app) as server, aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        owner = Person(str(server.make_url("/")), typed, browser)
        yield owner
