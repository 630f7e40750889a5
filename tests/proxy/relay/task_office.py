"""A sidecar in front of a backend that runs tools as tasks, and everybody who might want one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sidecar.store.commands import changes
from sidecar.store.commands.keys import account_keys
from tests.proxy.support import Launch, policy
from tests.support.backend import Backend
from tests.support.rig import LEGACY, MODERN, Json, Reply, Rig, Stream
from tests.support.store import until
from tests.support.tasks import CAPABILITIES, EXTENSION, Desk

DECLARED = {
    **{f"tasks/{verb}": {"scopes": []} for verb in ("get", "update", "cancel", "list")},
    "tasks/result": {"scopes": [], "timeout": "60s"},
    "subscriptions/listen": {"scopes": []},
    "notifications/tasks/status": {"scopes": []},
}
OFFER: Json = {"_meta": {CAPABILITIES: {"extensions": {EXTENSION: {}}}}}
ERAS = [LEGACY, MODERN]
RPC_INVALID = -32602


@dataclass
class Office:
    """A sidecar in front of a backend with tasks; Ada's first client has approved consents."""

    rig: Rig
    desk: Desk

    @property
    def reached(self) -> int:
        """Requests that the backend has seen."""
        return len(self.rig.backend.received)

    def mint(self, **claims: Any) -> str:
        return self.rig.issuer.mint(**{"account": "ada", **claims})

    async def start(self, era: str = MODERN, tool: str = "list_taxonomy", token: str = "", **options: Any) -> Reply:
        """Call a tool, and be handed a task."""
        arguments = options.pop("arguments", {})
        params = {"name": tool, "arguments": arguments, **(OFFER if era == MODERN else {"task": {"ttl": 60_000}})}
        return await self.rig.post("tools/call", params, revision=era, token=token or self.mint(), **options)

    async def started(self, name: str, era: str = MODERN, **options: Any) -> str:
        """Start a task with this id."""
        self.desk.ids.append(name)
        reply = await self.start(era, **options)
        assert reply.status == 200, reply
        assert name in reply.body.decode()
        return name

    async def ask(self, verb: str, name: Any, era: str = MODERN, token: str = "", **params: Any) -> Reply:
        """One of the tasks' methods about one task."""
        if verb == "update":
            params["inputResponses"] = {}
        params = {"taskId": name, **(OFFER if era == MODERN else {}), **params}
        return await self.rig.post(f"tasks/{verb}", params, revision=era, token=token or self.mint())

    def binding(self, name: str, account: str = "ada") -> str:
        return account_keys("main", account).task(name)

    def bound(self, account: str = "ada") -> int:
        with self.rig.redis() as client:
            return len(list(client.scan_iter(account_keys("main", account).every_task)))

    @asynccontextmanager
    async def listen(self, *names: str, token: str = "") -> AsyncIterator[Stream]:
        """A `subscriptions/listen` for tasks, behind its acknowledgement."""
        message = self.rig.message("subscriptions/listen", {"notifications": {"taskIds": list(names)}, **OFFER})
        headers = self.rig.request_headers(message, MODERN, token or self.mint())
        before = len(self.desk.listening)
        async with self.rig.http.post(self.rig.url, json=message, headers=headers) as answer:
            stream = Stream(answer)
            first = await stream.message()
            assert first is not None
            assert first["params"]["notifications"] == {"taskIds": list(names)}
            await until(lambda: len(self.desk.listening) > before)
            yield stream
            answer.close()
        await until(lambda: len(self.desk.listening) == before)


async def office_of(launch: Launch, **options: Any) -> Office:
    backend = Backend(sessions=True)
    desk = Desk(backend)
    methods = options.pop("methods", DECLARED)
    rules = options.pop("policy", policy(methods=methods))
    rig = await launch(scripted=backend, policy=rules, issuer={"claims": {"account": "account"}}, **options)
    for account, subject, client in (("ada", "ada", "cli-2"), ("ada", "eve", "cli-1"), ("bob", "bob", "cli-1")):
        await rig.account(account)
        await rig.run(changes.grant("main", account, subject, client))
    return Office(rig, desk)


STRANGERS: dict[str, Json] = {
    "account": {"subject": "bob", "account": "bob"},
    "client": {"client_id": "cli-2"},
    "subject": {"subject": "eve"},
}


def unknown(reply: Reply) -> bool:
    """True for the answer about a task that does not exist."""
    return (reply.status, reply.code, reply.json["error"]["code"]) == (200, "task_unknown", RPC_INVALID)
