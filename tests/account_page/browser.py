"""A browser without scripts: cookies of one origin each, redirects, links and forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp

MAX_REDIRECTS = 10


@dataclass(slots=True)
class Form:
    """A form: its method, its target and its fields; of buttons, only the names."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._link: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "form":
            self.forms.append(Form(given.get("method") or "get", given.get("action") or ""))
        elif tag == "input" and self.forms:
            self.forms[-1].fields[given.get("name") or ""] = given.get("value") or ""
        elif tag == "button" and self.forms and given.get("name"):
            self.forms[-1].buttons.append((given["name"] or "", given.get("value") or ""))
        elif tag == "a":
            self._link = given.get("href") or ""

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._link is not None:
            self.links.setdefault(data.strip(), self._link)
            self._link = None


@dataclass(slots=True)
class Page:
    """An answer, read whole."""

    url: str
    status: int
    headers: Any
    body: bytes

    @property
    def html(self) -> str:
        return self.body.decode()

    @property
    def _read(self) -> _Reader:
        return _Reader(self.html)

    @property
    def text(self) -> str:
        """All words, as a person reads them."""
        return " ".join(" ".join(self._read.words).split())

    @property
    def forms(self) -> list[Form]:
        return self._read.forms

    @property
    def links(self) -> dict[str, str]:
        """Targets by words."""
        return self._read.links

    @property
    def tags(self) -> list[tuple[str, dict[str, str | None]]]:
        return self._read.tags

    def form(self, action: str) -> Form:
        """The form that goes there."""
        return next(each for each in self.forms if each.action.endswith(action))


class Browser:
    """One browser; it sends what Chromium sends under the page's referrer policy."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self.http = http
        self.base = base
        self.cookies: dict[str, dict[str, str]] = {}
        self.set_cookies: list[str] = []
        self.seen: list[str] = []

    async def get(self, place: str, *, follow: bool = True, headers: dict[str, str] | None = None) -> Page:
        """Open a page, and follow its redirects."""
        return await self._open("GET", urljoin(self.base, place), None, headers or {}, follow)

    async def post(
        self,
        place: str,
        fields: dict[str, str],
        *,
        headers: dict[str, str | None] | None = None,
        follow: bool = True,
    ) -> Page:
        """Send a form as the page itself does; headers that are None are left out."""
        usual: dict[str, str | None] = {"Origin": "null", "Sec-Fetch-Site": "same-origin", **(headers or {})}
        sent = {name: value for name, value in usual.items() if value is not None}
        return await self._open("POST", urljoin(self.base, place), fields, sent, follow)

    async def submit(self, page: Page, action: str, button: tuple[str, str] | None = None, **fields: str) -> Page:
        """Submit one of a page's forms, by one of its buttons."""
        form = page.form(action)
        filled = {**form.fields, **fields, **dict([button] if button else [])}
        assert form.method == "post"
        return await self.post(urljoin(page.url, form.action), filled)

    async def click(self, page: Page, words: str, *, follow: bool = True) -> Page:
        """Follow a link."""
        return await self.get(urljoin(page.url, page.links[words]), follow=follow)

    def cookie(self, name: str) -> str | None:
        return self.cookies.get(_origin(self.base), {}).get(name)

    async def _open(self, method: str, url: str, fields: Any, headers: dict[str, str], follow: bool) -> Page:
        for _ in range(MAX_REDIRECTS):
            self.seen.append(url)
            jar = self.cookies.setdefault(_origin(url), {})
            sent = {**headers, **({"Cookie": "; ".join(f"{k}={v}" for k, v in jar.items())} if jar else {})}
            async with self.http.request(method, url, data=fields, headers=sent, allow_redirects=False) as answer:
                page = Page(url, answer.status, answer.headers, await answer.read())
            for line in answer.headers.getall("Set-Cookie", ()):
                self.set_cookies.append(line)
                name, _, value = line.partition(";")[0].partition("=")
                if "Max-Age=0" in line:
                    jar.pop(name, None)
                else:
                    jar[name] = value
            if not follow or answer.status not in (302, 303):
                return page
            url, method, fields, headers = urljoin(url, answer.headers["Location"]), "GET", None, {}
        raise AssertionError(f"more than {MAX_REDIRECTS} redirects: {self.seen}")


def _origin(url: str) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))
