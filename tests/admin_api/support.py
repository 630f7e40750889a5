"""Programs of the admin API in tests, and requests of theirs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from jsonschema_rs import Draft202012Validator
from yarl import URL

from sidecar.admin_api.api_problems import PROBLEM_TYPE, ApiProblem
from sidecar.admin_api.api_schemas import SCHEMAS
from sidecar.admin_api.openapi import openapi_document
from sidecar.admin_api.request_target import split_target
from sidecar.admin_api.route_table import Router
from sidecar.admin_api.routes import ROUTES
from tests.support.rig import Json, Reply, Rig
from tests.support.store import until

PERMISSIONS = ("read", "accounts", "consents", "credits")


def token_of(name: str) -> str:
    return f"{name}-".ljust(40, "0")


def section(listen: Any = "127.0.0.1:0", **more: Any) -> Json:
    """A config's `admin_api`: a program for each permission, and one with all."""
    tokens = [{"name": name, "token": token_of(name), "may": [name]} for name in PERMISSIONS]
    tokens.append({"name": "all", "token": token_of("all"), "may": list(PERMISSIONS)})
    return {"listen": listen, "tokens": tokens, **more}


@dataclass(slots=True)
class Api:
    """The API of a running sidecar."""

    rig: Rig
    url: str

    @classmethod
    def of(cls, rig: Rig) -> Api:
        return cls(rig, f"http://{rig.sidecar.addresses['admin_api']}")

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        by: str | None = "all",
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        http: aiohttp.ClientSession | None = None,
        **query: Any,
    ) -> Reply:
        """Send one request; the path and the query are sent as they are given here."""
        sent = {} if by is None else {"Authorization": f"Bearer {token_of(by)}"}
        if body is not None:
            data, sent = json.dumps(body).encode(), {**sent, "Content-Type": "application/json"}
        given = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
        target = f"{self.url}{path}" + (f"?{urlencode(given)}" if query else "")
        session = http or self.rig.http
        async with session.request(
            method,
            URL(target, encoded=True),
            data=data,
            headers={**sent, **(headers or {})},
        ) as answer:
            said = Reply(answer.status, answer.headers, await answer.read())
        check_answer(method, path, said)
        return said

    async def account(self, name: str, **change: Any) -> Reply:
        """Create or change an account."""
        made = await self.ask("PATCH", account_path(name), change or {"status": "active"}, create=True)
        assert made.status in (200, 201), made.body
        return made

    async def credits(self, name: str, change: str, amount: int, key: str, **more: Any) -> Reply:
        """Change the contact credits of an account."""
        body = {"pool": "contact", "change": change, "amount": amount}
        return await self.ask("POST", account_path(name, "credits"), body, headers={"Idempotency-Key": key}, **more)

    async def found(self, path: str) -> Reply:
        """Ask until the store is reachable again."""
        async with asyncio.timeout(60):
            while True:
                said = await self.ask("GET", path)
                if said.status == 200:
                    return said
                await asyncio.sleep(0.01)

    async def logged(self, event: str, **facts: object) -> Json:
        """Wait for a line of an event with these facts."""
        found: list[Json] = []

        def written() -> bool:
            found[:] = [line for line in self.rig.log if line["event"] == event and facts.items() <= line.items()]
            return bool(found)

        await until(written)
        return found[0]


_ROUTER = Router(ROUTES)


def check_answer(method: str, path: str, said: Reply) -> None:
    """Check an answer by what the OpenAPI document says of its route."""
    if said.status >= 400:
        assert said.headers["Content-Type"] == PROBLEM_TYPE or method == "HEAD", (said.status, said.body)
    try:
        route, _ = _ROUTER.find(method, split_target(path)[0])
    except ApiProblem:
        return
    described = openapi_document(ROUTES)["paths"][route.path][method.lower()]["responses"]
    assert str(said.status) in described, (route.operation, said.status, said.body)
    name = route.answer if said.status < 300 else "Problem"
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    errors = [(error.instance_path, error.message) for error in Draft202012Validator(schema).iter_errors(said.json)]
    assert errors == [], (route.operation, said.body)
    if said.status >= 400:
        codes = described[str(said.status)]["description"]
        assert f"`{said.code}`" in codes, (route.operation, said.code)
    assert ("ETag" in said.headers) is (route.versioned and said.status < 300)
    if said.status == 503:
        assert int(said.headers["Retry-After"]) > 0


def account_path(name: str, *more: str) -> str:
    return "/".join(["/v1/accounts", quote(name, safe=""), *more])
