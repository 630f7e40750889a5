"""The demo's backend without a GET stream."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from demo import backend


class BackendWithoutStream(backend.Backend):
    """Backend without a GET stream: opening one, a client would sign in a second time in parallel to its calls."""

    def app(self, host: str = "127.0.0.1") -> Starlette:
        app = super().app(host)
        app.add_middleware(_RejectGet)
        return app


class _RejectGet:
    """ASGI middleware that answers GET with 405, as servers without a stream do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = scope["type"] == "http" and scope["method"] == "GET"
        await (PlainTextResponse("", status_code=405) if refused else self._app)(scope, receive, send)
