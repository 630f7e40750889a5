"""Steps on the account page: ada logs in with a browser, confirms a call there, and revokes a client."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx2
from mcp import Client

from demo import steps
from demo.narration import ACCOUNT, Step, Story, expect
from sidecar.errors import ErrorCode

ONE: Final[dict[str, object]] = {"contact_ids": ["c8"]}
OTHER: Final[dict[str, object]] = {"contact_ids": ["c9"]}


class _Forms(HTMLParser):
    """Fields of the forms of a page, by their action."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str]] = {}
        self._action = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect forms and their hidden fields."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._action = given["action"]
            self.found[self._action] = {}
        elif tag == "input" and given.get("type") == "hidden":
            self.found[self._action][given["name"]] = given["value"]


@dataclass(slots=True)
class Browser:
    """Ada's browser: cookies by origin, redirects and forms, without scripts."""

    story: Story
    _cookies: dict[str, dict[str, str]] = field(default_factory=dict)

    async def open(self, url: str) -> str:
        """Open a page, and return it."""
        return await self._go("GET", url)

    async def submit(self, page: str, action: str, **fields: str) -> str:
        """Submit a form of a page; return the page that follows."""
        filled = {**_Forms(page).found[action], **fields}
        return await self._go("POST", urljoin(self.story.stage.url, action), filled)

    async def _go(self, method: str, url: str, fields: dict[str, str] | None = None) -> str:
        for _ in range(10):
            parts = urlsplit(url)
            origin = f"{parts.scheme}://{parts.netloc}"
            jar = self._cookies.setdefault(origin, {})
            headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items()), "Origin": origin}
            answer = await self.story.stage.http.request(method, url, data=fields, headers=headers)
            self.story.say(f"> {method} {parts.path} -> {answer.status_code}")
            self._keep(jar, answer)
            if answer.status_code not in (302, 303):
                expect(answer.status_code == 200, f"a page, not {answer.status_code}")
                return str(answer.text)
            url, method, fields = urljoin(url, answer.headers["Location"]), "GET", None
        raise LookupError("too many redirects")

    @staticmethod
    def _keep(jar: dict[str, str], answer: httpx2.Response) -> None:
        for line in answer.headers.get_list("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            jar[name] = value


async def _confirmed(story: Story) -> None:
    await story.command("credits", "grant", ACCOUNT, "contact", "1")
    before = (await story.money()).spent
    browser = Browser(story)
    await browser.open(f"{_page_url(story)}/login")
    async with story.client() as client:
        page, link = await _asked(story, browser, client, OTHER)
        await browser.submit(page, urlsplit(link).path, answer="decline")
        await story.play(client, "reveal_contacts", OTHER, ErrorCode.CONFIRMATION_DECLINED)
        page, link = await _asked(story, browser, client, ONE)
        done = await browser.submit(page, urlsplit(link).path, answer="accept")
        expect("Approved" in done, "ada has approved it")
        await story.play(client, "reveal_contacts", ONE)
    expect((await story.money()).spent == before + 1, "one credit is spent")


async def _asked(story: Story, browser: Browser, client: Client, arguments: dict[str, object]) -> tuple[str, str]:
    """Call a tool; return the page that the refusal names, and its address."""
    answer = await story.play(client, "reveal_contacts", arguments, ErrorCode.CONFIRMATION_REQUIRED)
    links = [word.strip(".,;") for word in answer.sentence.split() if word.startswith(f"{_page_url(story)}/confirm/")]
    expect(len(links) == 1, "the refusal names the page")
    page = await browser.open(links[0])
    expect("contact credit" in page and "reveal_contacts" in page, "the page says what it is and what it costs")
    return page, links[0]


def _page_url(story: Story) -> str:
    return f"{story.stage.url.removesuffix('/mcp')}/account"


async def _revoked(story: Story) -> None:
    page_url = _page_url(story)
    client_id = story.memory.client.client_id if story.memory.client is not None else ""
    browser = Browser(story)
    await browser.open(f"{page_url}/login")
    page = await browser.open(f"{page_url}/clients")
    expect(client_id and client_id in page, "the page lists the client")
    done = await browser.submit(page, "/account/clients")
    expect("The client is revoked." in done, "the page confirms it")
    await steps.blocked_at_once(story)
    await steps.approve_again(story)


CONFIRMED: Final = Step(
    "A person confirms on the account page",
    "The refusal names the page. Ada logs in there, sees each call and its price, declines one and approves another: "
    "only that one runs.",
    _confirmed,
)
REVOKED: Final = Step(
    "A person revokes on the account page",
    "Ada ends the client there: its next call is refused. A new approval ends that, too.",
    _revoked,
)
