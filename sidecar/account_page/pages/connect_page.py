"""Connect: how a client is connected to this server, for the usual ones."""

from __future__ import annotations

import base64
import json
import re
import shlex
from urllib.parse import quote, urlencode, urlsplit

from sidecar.account_page.pages.page_frame import PageContext, framed
from sidecar.account_page.web.markup import Markup, tag


def connect(context: PageContext) -> Markup:
    """Return the page."""
    url = context.site.resource
    name = server_name(url)
    command = f"claude mcp add --transport http {name} {shlex.quote(url)}"
    settings = json.dumps({"mcpServers": {name: {"type": "http", "url": url}}}, indent=2)
    return framed(
        context,
        "connect",
        "Connect a client",
        tag("p", "Each client opens a login in your browser the first time, and shows what it asks for."),
        tag("h2", "Claude Code"),
        _text("Command for Claude Code", command),
        tag("h2", "VS Code and Cursor"),
        tag(
            "p",
            tag("a", "Add to VS Code", href=vscode_link(name, url), class_="button"),
            " ",
            tag("a", "Add to Cursor", href=cursor_link(name, url), class_="button"),
        ),
        tag("h2", "Other clients"),
        tag("p", "The address of the server is ", tag("code", url), ". In a file of settings:"),
        _text("Settings as JSON", settings),
    )


def server_name(url: str) -> str:
    """Return a name for the server in clients: that of its host, with hyphens."""
    host = urlsplit(url).hostname or "mcp"
    return re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-") or "mcp"


def vscode_link(name: str, url: str) -> str:
    """Return the link by which VS Code adds the server."""
    return f"vscode:mcp/install?{quote(json.dumps({'name': name, 'type': 'http', 'url': url}), safe='')}"


def cursor_link(name: str, url: str) -> str:
    """Return the link by which Cursor adds the server."""
    config = base64.b64encode(json.dumps({"url": url}).encode()).decode()
    return f"cursor://anysphere.cursor-deeplink/mcp/install?{urlencode({'name': name, 'config': config})}"


def _text(label: str, text: str) -> Markup:
    # Focusable, because it scrolls where the screen is narrow (WCAG 2.1, success criterion 2.1.1).
    return tag("pre", tag("code", text), tabindex=0, role="region", aria_label=label)
