"""Just enough of a sidecar to play the story against, from the contract and not from the product.

It keeps its accounts in a dict and answers each refusal in the shape of its row. It is no model of
the sidecar: it knows the story's tools and nothing else.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import jwt
from aiohttp import web

from sidecar.demo.issuer import Issuer
from sidecar.errors import ErrorCode, Refusal, Shape

REVISIONS = ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
META = "io.modelcontextprotocol/protocolVersion"
SCOPES = {
    "get_usage": "usage:read",
    "list_taxonomy": "stores:read",
    "get_shopify_store": "stores:read",
    "search_shopify_stores": "stores:read",
    "reveal_contacts": "contacts:reveal",
}
FREE_TOOLS = {"get_usage", "list_taxonomy"}
TOKEN_ONLY = {"initialize", "notifications/initialized", "server/discover"}


@dataclass
class Account:
    plan: str = "free"
    status: str = "active"
    quotas: dict[str, int | None] = field(default_factory=dict)
    credits: int = 0
    paid: set[str] = field(default_factory=set)


@dataclass
class Front:
    """The story's operator and its sidecar.

    Attributes:
        blind: refusals that it does not see: such a request goes on to the next check.
        bare: leave the refusal's id out wherever the protocol has an error of its own.
    """

    issuer: Issuer
    backend: str
    blind: frozenset[ErrorCode] = frozenset()
    bare: bool = False
    body: int = 1 << 20
    response: int = 1 << 20
    timeout: float = 0.5
    url: str = ""
    accounts: dict[str, Account] = field(default_factory=dict)
    consents: dict[tuple[str, str], float | None] = field(default_factory=dict)  # when it was revoked
    challenged: dict[str, int] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)

    # --- Operator

    async def grant(self, account: str, client_id: str) -> None:
        self.consents[account, client_id] = None

    async def revoke(self, account: str, client_id: str) -> None:
        self.consents[account, client_id] = self.consents.get((account, client_id)) or time.time()

    async def set_account(
        self,
        account: str,
        *,
        plan: str | None = None,
        status: str | None = None,
        quotas: Mapping[str, int | None] | None = None,
    ) -> None:
        record = self.accounts.setdefault(account, Account())
        record.plan, record.status = plan or record.plan, status or record.status
        record.quotas.update(quotas or {})

    async def set_credits(self, account: str, pool: str, balance: int) -> None:
        assert pool == "contact"
        self.accounts[account].credits = balance

    # --- the gates

    def refuse(self, code: ErrorCode, when: object, **how: Any) -> None:
        if when and code not in self.blind:
            raise Refusal(code, **how)

    async def answer(self, request: web.Request) -> web.Response:
        document: dict[str, Any] = {}
        try:
            self.transport(request)
            body = await request.read()
            claims = self.token(request)
            document.update(self.message(request, body))
            self.policed(request, document, claims)
            return await self.forward(request, document)
        except Refusal as refusal:
            return self.told(refusal, document)

    def transport(self, request: web.Request) -> None:
        own = self.url.split("/")[2]
        host = request.headers.get("Host")
        self.refuse(ErrorCode.REQUEST_MALFORMED, host is None)
        self.refuse(ErrorCode.HOST_REFUSED, host not in (None, own))
        self.refuse(ErrorCode.ORIGIN_REFUSED, "Origin" in request.headers)
        self.refuse(ErrorCode.PATH_UNKNOWN, request.path != "/mcp")
        self.refuse(ErrorCode.HTTP_METHOD_REFUSED, request.method not in ("POST", "DELETE"))
        if request.method == "POST":
            self.refuse(ErrorCode.NOT_ACCEPTABLE, "application/json" not in request.headers.get("Accept", ""))
            self.refuse(ErrorCode.BODY_TOO_LARGE, (request.content_length or 0) > self.body)
            self.refuse(ErrorCode.MEDIA_TYPE_UNSUPPORTED, request.content_type != "application/json")

    def token(self, request: web.Request) -> dict[str, Any]:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        self.refuse(ErrorCode.TOKEN_MISSING, kind != "Bearer", scopes=("usage:read", "stores:read"))
        kid = jwt.get_unverified_header(token)["kid"] if token else None
        self.refuse(ErrorCode.ISSUER_UNAVAILABLE, self.issuer.keys_down and kid == self.issuer.keys[-1].kid)
        keys = {signer.kid: signer.jwk for signer in self.issuer.keys}
        try:
            claims = jwt.decode(token, jwt.PyJWK(keys[str(kid)]), audience=self.url, issuer=self.issuer.url)
        except (jwt.InvalidTokenError, KeyError):
            self.refuse(ErrorCode.TOKEN_INVALID, True)
            claims = {"sub": "ada", "client_id": "story", "scope": "stores:read", "iat": 0}
        return dict(claims)

    def message(self, request: web.Request, body: bytes) -> dict[str, Any]:
        if request.method == "DELETE":
            return {"method": "delete"}
        try:
            document = json.loads(body)
        except ValueError:
            self.refuse(ErrorCode.MESSAGE_UNPARSABLE, True)
            document = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        self.refuse(ErrorCode.MESSAGE_MALFORMED, document.get("jsonrpc") != "2.0")
        version = request.headers.get("MCP-Protocol-Version", "2025-03-26")
        self.refuse(ErrorCode.VERSION_UNSUPPORTED, version not in REVISIONS)
        params = document.get("params") or {}
        if version == "2026-07-28":
            self.refuse(ErrorCode.PARAMS_MALFORMED, META not in params.get("_meta", {}))
            same = request.headers.get("Mcp-Name", params.get("name")) == params.get("name")
            self.refuse(ErrorCode.HEADER_MISMATCH, not same)
        return dict(document)

    def policed(self, request: web.Request, document: dict[str, Any], claims: dict[str, Any]) -> None:
        session = request.headers.get("Mcp-Session-Id")
        self.refuse(ErrorCode.SESSION_UNKNOWN, session is not None and session not in self.sessions)
        method = document.get("method")
        if method in TOKEN_ONLY or method in ("delete", "ping"):
            return
        self.refuse(ErrorCode.METHOD_NOT_ALLOWED, method not in ("tools/call", "tools/list"), status=404)
        self.consent(claims)
        account = self.account(claims)
        if method == "tools/call":
            self.call(document["params"], claims, account)

    def consent(self, claims: dict[str, Any]) -> None:
        key = (claims["sub"], claims["client_id"])
        self.refuse(ErrorCode.CONSENT_MISSING, key not in self.consents)
        revoked = self.consents.get(key)
        if revoked is not None:
            self.refuse(ErrorCode.CONSENT_REVOKED, claims["iat"] < int(revoked), shape=Shape.CHALLENGE)
            self.refuse(ErrorCode.CONSENT_REVOKED, True)

    def account(self, claims: dict[str, Any]) -> Account:
        self.refuse(ErrorCode.ACCOUNT_UNKNOWN, claims["sub"] not in self.accounts)
        account = self.accounts.get(claims["sub"], Account("business"))
        self.refuse(ErrorCode.ACCOUNT_DISABLED, account.status == "disabled")
        return account

    def call(self, params: dict[str, Any], claims: dict[str, Any], account: Account) -> None:
        tool, arguments = params["name"], params.get("arguments") or {}
        self.refuse(ErrorCode.TOOL_UNKNOWN, tool not in SCOPES)
        self.refuse(ErrorCode.PLAN_REQUIRED, account.plan == "free" and tool not in FREE_TOOLS)
        if SCOPES.get(tool) not in claims["scope"].split():
            before = self.challenged.setdefault(claims["client_id"], claims["iat"])
            declined = {"shape": Shape.TOOL_RESULT} if claims["iat"] > before else {}
            self.refuse(ErrorCode.INSUFFICIENT_SCOPE, True, scopes=(SCOPES.get(tool, ""),), **declined)
        self.refuse(ErrorCode.ARGUMENTS_REFUSED, arguments.get("limit", 25) > 100)
        if tool == "reveal_contacts":
            self.refuse(ErrorCode.CONFIRMATION_REQUIRED, arguments.get("confirm_spend_credits") is not True)
            new = set(arguments["contact_ids"]) - account.paid
            self.refuse(ErrorCode.INSUFFICIENT_CREDITS, len(new) > account.credits)
            account.credits -= len(new)
            account.paid |= new
        rows = account.quotas.get("search_rows.month")
        self.refuse(ErrorCode.QUOTA_EXCEEDED, rows is not None and arguments.get("limit", 0) > rows)

    async def forward(self, request: web.Request, document: dict[str, Any]) -> web.Response:
        if (document.get("params") or {}).get("name") == "get_usage":
            usage = {"resultType": "complete", "content": [{"type": "text", "text": "{}"}], "structuredContent": {}}
            return web.json_response({"jsonrpc": "2.0", "id": document["id"], "result": usage})
        names = ("Accept", "Content-Type", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Session-Id")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        content = json.dumps(document).encode() if request.method == "POST" else None
        async with httpx2.AsyncClient(timeout=self.timeout) as http:
            try:
                answer = await http.request(request.method, self.backend, headers=headers, content=content)
            except httpx2.TimeoutException:
                self.refuse(ErrorCode.BACKEND_TIMEOUT, True)
                return web.json_response({"jsonrpc": "2.0", "id": document["id"], "result": {}})
        self.refuse(ErrorCode.BACKEND_UNAVAILABLE, answer.status_code == 401)
        self.refuse(ErrorCode.RESPONSE_TOO_LARGE, len(answer.content) > self.response)
        if session := answer.headers.get("Mcp-Session-Id"):
            self.sessions.add(session)
        kept = {name: answer.headers[name] for name in ("Content-Type", "Mcp-Session-Id") if name in answer.headers}
        return web.Response(status=answer.status_code, body=answer.content, headers=kept)

    # --- the shapes

    def told(self, refusal: Refusal, document: dict[str, Any]) -> web.Response:
        code = {"code": refusal.code.id}
        hidden = {} if self.bare else code
        if refusal.shape is Shape.TOOL_RESULT:
            text = [{"type": "text", "text": refusal.detail}]
            meta = {"mcp-policy-sidecar/refusal": code}
            result = {"resultType": "complete", "isError": True, "content": text, "_meta": meta}
            return web.json_response({"jsonrpc": "2.0", "id": document.get("id"), "result": result})
        if refusal.shape is Shape.RPC_ERROR:
            error = {"code": refusal.code.row.rpc, "message": refusal.detail, "data": hidden}
            return web.json_response(
                {"jsonrpc": "2.0", "id": document.get("id"), "error": error}, status=refusal.status
            )
        headers, body = {}, {**code, "title": refusal.detail}
        if refusal.shape is Shape.CHALLENGE:
            headers["WWW-Authenticate"] = self.challenge(refusal)
            body = {**hidden, "title": refusal.detail}
        return web.json_response(body, status=refusal.status, headers=headers, content_type="application/problem+json")

    def challenge(self, refusal: Refusal) -> str:
        errors = {ErrorCode.TOKEN_MISSING: "", ErrorCode.INSUFFICIENT_SCOPE: 'error="insufficient_scope", '}
        metadata = self.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
        error = errors.get(refusal.code, 'error="invalid_token", ')
        scopes = f', scope="{" ".join(refusal.scopes)}"' if refusal.scopes else ""
        return f'Bearer {error}resource_metadata="{metadata}"{scopes}'

    async def metadata(self, request: web.Request) -> web.Response:
        return web.json_response({"resource": self.url, "authorization_servers": [self.issuer.url]})


@asynccontextmanager
async def serving(front: Front) -> AsyncIterator[Front]:
    listener = socket.create_server(("127.0.0.1", 0))
    front.url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    front.issuer.resources = (front.url,)
    app = web.Application(client_max_size=1 << 24)
    app.router.add_get("/.well-known/oauth-protected-resource/mcp", front.metadata)
    app.router.add_route("*", "/{path:.*}", front.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield front
    finally:
        await runner.cleanup()
        listener.close()
