"""Headless Chromium, driven by its own protocol (CDP) over a WebSocket.

    async with browser(tmp_path) as chromium:
        tab = await chromium.tab()
        await tab.open("https://mcp.example.com/account")
        await tab.click("button")

Debian's package is used, and installed where that is possible; elsewhere the test is skipped with the reason.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.support import node

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
LIMIT: Final = 120.0
"""Seconds for anything that the browser does: the machine may be busy."""
_LOCK: Final = Path(__file__).parents[1] / ".chromium.lock"
_OPTIONS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    *("--remote-debugging-port=0", "--force-color-profile=srgb", "--lang=en-US", "about:blank"),
)

Json = dict[str, Any]


def program() -> str:
    """The browser; skips the test without it."""
    found = _found()
    if not found.startswith("/"):
        pytest.skip(found)
    return found


@functools.cache
def _found() -> str:
    """Path of the browser, or why there is none."""
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (path := _installed()) is not None:
            return path
        apt = shutil.which("apt-get")
        if apt is None or os.geteuid() != 0:
            return "Chromium is not installed, and cannot be installed here"
        for words in (("update", "-qq"), ("install", "-y", "-qq", "--no-install-recommends", "chromium")):
            try:
                subprocess.run((apt, *words), capture_output=True, timeout=600, check=True)
            except (OSError, subprocess.SubprocessError) as error:
                return f"Chromium cannot be installed: {type(error).__name__}"
        return _installed() or "Chromium is not installed"


def _installed() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class BrowserError(AssertionError):
    """The browser refused a command, or a page raised an exception."""


class Chromium:
    """A running browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._loaded: dict[str, asyncio.Event] = {}
        self._reader = asyncio.create_task(self._read())

    async def send(self, method: str, session: str | None = None, **params: Any) -> Json:
        """Run a command, and return its result."""
        id_ = next(self._ids)
        waiting = self._waiting[id_] = asyncio.get_running_loop().create_future()
        message = {"id": id_, "method": method, "params": params, **({"sessionId": session} if session else {})}
        await self._socket.send_str(json.dumps(message))
        async with asyncio.timeout(LIMIT):
            answer = await waiting
        del self._waiting[id_]
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    async def tab(self) -> Tab:
        """Open a tab."""
        target = (await self.send("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        self._loaded[session] = asyncio.Event()
        for domain in ("Page", "Runtime", "Network"):
            await self.send(f"{domain}.enable", session)
        return Tab(self, session, self._loaded[session])

    async def _read(self) -> None:
        async for message in self._socket:
            arrived = json.loads(message.data)
            if "id" in arrived:
                waiting = self._waiting.get(arrived["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(arrived)
            elif arrived.get("method") == "Page.loadEventFired":
                self._loaded[arrived["sessionId"]].set()

    async def close(self) -> None:
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader


class Tab:
    """One tab."""

    def __init__(self, chromium: Chromium, session: str, loaded: asyncio.Event) -> None:
        self._chromium = chromium
        self._session = session
        self._loaded = loaded

    async def send(self, method: str, **params: Any) -> Json:
        return await self._chromium.send(method, self._session, **params)

    async def open(self, url: str) -> None:
        """Open a page, and wait until it has loaded."""
        async with self.loading():
            found = await self.send("Page.navigate", url=url)
            assert "errorText" not in found, found

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """Wait for the page that the block leads to."""
        self._loaded.clear()
        yield
        async with asyncio.timeout(LIMIT):
            await self._loaded.wait()

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        found = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise BrowserError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    async def click(self, selector: str) -> None:
        """Click on an element that leads to another page."""
        async with self.loading():
            await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    async def fill(self, selector: str, text: str) -> None:
        """Type into a field."""
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")

    async def press(self, key: str) -> None:
        """Press a key."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        await self.send("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        await self.send("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    async def url(self) -> str:
        return str(await self.evaluate("location.href"))

    async def back(self) -> None:
        """Press the back button, and wait for the page before: the browser may have kept it, and load nothing."""
        history = await self.send("Page.getNavigationHistory")
        before = history["entries"][history["currentIndex"] - 1]
        await self.send("Page.navigateToHistoryEntry", entryId=before["id"])
        async with asyncio.timeout(LIMIT):
            while True:
                with contextlib.suppress(BrowserError):  # between two pages there is none to ask
                    if await self.url() == before["url"]:
                        return
                await asyncio.sleep(0.05)

    async def text(self) -> str:
        """What a person reads, with blanks between words."""
        return " ".join(str(await self.evaluate("document.body.innerText")).split())

    async def cookies(self) -> list[Json]:
        return list((await self.send("Network.getCookies"))["cookies"])

    async def look(self, *, dark: bool = False, width: int = 1100, height: int = 800) -> None:
        """Choose the colours and the size of the window."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    async def screenshot(self) -> bytes:
        """The window as PNG."""
        return base64.b64decode((await self.send("Page.captureScreenshot", format="png"))["data"])

    async def violations(self) -> list[str]:
        """What axe-core finds against WCAG 2.2 A and AA."""
        await self.evaluate(node.package("axe-core", "axe.min.js").read_text() + "; 0")
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        run = f"axe.run(document, {{runOnly: {json.dumps(tags)}}})"
        report = f"{run}.then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).join(' | ')))"
        return [str(each) for each in await self.evaluate(report)]


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Chromium]:
    """A browser with an empty profile; it and its children are killed on leaving."""
    profile = folder / "chromium"
    process = await asyncio.create_subprocess_exec(
        program(),
        *_OPTIONS,
        f"--user-data-dir={profile}",
        env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        port, path = await _endpoint(profile / "DevToolsActivePort", process)
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
        ):
            chromium = Chromium(socket)
            try:
                yield chromium
            finally:
                await chromium.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _endpoint(file: Path, process: asyncio.subprocess.Process) -> tuple[str, str]:
    """Wait until the browser has written where it listens."""
    async with asyncio.timeout(LIMIT):
        while True:
            assert process.returncode is None, "Chromium has ended"
            if len(lines := _lines(file)) == 2:
                return lines[0], lines[1]
            await asyncio.sleep(0.05)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
