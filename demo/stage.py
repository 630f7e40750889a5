"""Processes of the story: a directory, an issuer, a backend and a sidecar, with their operator's commands."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2
import redis

from demo import backend, issuer_process
from demo.files import CONFIG, POLICY
from demo.processes import ConditionNotMetError, Process, free_port, until
from demo.requests import RequestSender
from sidecar.cli import main as mcp_sidecar
from sidecar.store.commands.keys import account_keys
from sidecar.store.connection.store_connection import StoreError
from sidecar.store.embedded.embedded_server import EmbeddedStore

MARGIN: Final = 9.0
"""Seconds that a hold outlives its call's timeout in the demo; the default is 60."""


@dataclass(frozen=True, slots=True)
class Money:
    """Contact credits of one account: granted, left, held and spent."""

    granted: int
    credits: int
    held: int
    spent: int

    def __str__(self) -> str:
        total = self.credits + self.held + self.spent
        return f"credits {self.credits} + held {self.held} + spent {self.spent} = {total}; granted {self.granted}: " + (
            "they are equal" if self.balanced else "THEY DIFFER"
        )

    @property
    def balanced(self) -> bool:
        """`credits + held + spent == granted`."""
        return self.credits + self.held + self.spent == self.granted


class Stage:
    """Processes and their operator. Leaving the context ends all of them in every case.

    Args:
        policy: the sidecar's policy file; None for the demo's own.
    """

    def __init__(self, policy: Path | None = None) -> None:
        self._policy = POLICY if policy is None else policy.read_text()
        self.folder = Path()
        self.url = ""
        self.admin = ""

    def __enter__(self) -> Self:
        # A short path: the name of a unix socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="mcp-demo-"))
        self.config = self.folder / "config.yaml"
        self.issuer = Process("demo.issuer_process", self.folder, "issuer")
        self.backend = Process("demo.backend", self.folder, "backend")
        self.sidecar = Process("demo.short_lease", self.folder, "sidecar")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for process in (self.sidecar, self.issuer, self.backend):
            process.end()
        store = self.store
        if store.path.exists():
            # A killed sidecar leaves its store running; the last user stops it.
            with contextlib.suppress(StoreError):
                store.enter()
                store.leave()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def store(self) -> EmbeddedStore:
        """Return the sidecar's private Valkey."""
        return EmbeddedStore(self.folder / "store")

    # --- start ---------------------------------------------------------------------------------

    async def start(self, http: httpx2.AsyncClient) -> None:
        """Start issuer and backend, write the config and the policy, and start the sidecar."""
        self.http = http
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/mcp"
        self.ask = RequestSender(self.url, http)
        self.issuer.start(["--resource", self.url, "--config", str(self.config)])
        self.backend.start(["--port", "0"])
        self.issuer_url = (await self.issuer.line("demo issuer: ")).split()[-1]
        self.backend_url = (await self.backend.line("demo backend: ")).split()[-1]
        (self.folder / "policy.yaml").write_text(self._policy)
        self.config.write_text(
            CONFIG.format(
                resource=self.url, listen=f"127.0.0.1:{port}", backend=self.backend_url, issuer=self.issuer_url
            )
        )
        await self.start_sidecar()

    async def start_sidecar(self) -> None:
        """Start the sidecar, also after it was killed; return when it is ready."""
        self.sidecar.start(["--config", str(self.config), "--margin", str(MARGIN)])
        listening = json.loads(await self.sidecar.line('"event":"listening"'))
        self.admin = f"http://{listening['admin']}"

        async def ready() -> bool:
            return (await self.http.get(f"{self.admin}/readyz")).status_code == 200

        try:
            await until("the sidecar is ready", ready)
        except ConditionNotMetError as error:
            raise ConditionNotMetError(f"{error}: {self.sidecar.last_words()}") from error

    # --- operator ------------------------------------------------------------------------------

    async def operate(self, *words: str) -> tuple[int, str]:
        """Run `mcp-sidecar WORDS --config ...`; return its exit status and its output."""
        said = io.StringIO()
        # In this process: starting Python for each command would double the length of the story.
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = await asyncio.to_thread(mcp_sidecar, [*words, "--config", str(self.config)])
        return status, said.getvalue().rstrip()

    async def usage(self, account: str) -> Any:
        """Return the output of `usage --format json` for an account."""
        status, said = await self.operate("usage", account, "--format", "json")
        if status != 0:
            raise ConditionNotMetError(f"mcp-sidecar usage {account}: {said}")
        return json.loads(said)

    async def money(self, account: str) -> Money:
        """Return the balance and the held credits from the command, and the totals of the journal."""
        while True:
            before = await asyncio.to_thread(self._journal, account)
            pool = (await self.usage(account))["credits"]["contact"]
            if await asyncio.to_thread(self._journal, account) == before:  # no change in between
                return Money(before[0], pool["balance"], pool["held"], before[1])

    def _journal(self, account: str) -> tuple[int, int]:
        """Return the contact credits granted and spent, added up from the account's usage stream."""
        with redis.Redis(unix_socket_path=str(self.store.path), decode_responses=True) as server:
            entries: Any = server.xrange(account_keys("main", account).usage)
        credits = [(fields["event"], int(fields.get("credit:contact", 0))) for _, fields in entries]
        granted = sum(amount for event, amount in credits if event == "grant")
        return granted, sum(amount for event, amount in credits if event == "settled")

    # --- backstage -----------------------------------------------------------------------------

    async def received(self) -> Any:
        """Return the backend's own counts: `requests`, `tool_calls`, `tools`."""
        return (await self.http.get(self._backstage(self.backend_url, backend.BACKSTAGE))).json()

    async def behave(self, **knobs: Any) -> None:
        """Change the behaviour of the backend; see `backend.Backend`."""
        answer = await self.http.post(self._backstage(self.backend_url, backend.BACKSTAGE), json=knobs)
        answer.raise_for_status()

    async def keys_down(self, down: bool) -> None:
        """Take the issuer's key set down, or up again."""
        place = self._backstage(self.issuer_url, issuer_process.BACKSTAGE)
        (await self.http.post(place, json={"keys_down": down})).raise_for_status()

    async def token(self, **changes: Any) -> str:
        """Return a valid token of the client `story` for ada, with changes as `TrialIssuer.mint` takes them."""
        place = self._backstage(self.issuer_url, f"{issuer_process.BACKSTAGE}/token")
        answer = await self.http.post(place, json={"client_id": "story", **changes})
        answer.raise_for_status()
        return answer.text

    async def metrics(self) -> str:
        """Return the sidecar's current metrics."""
        return (await self.http.get(f"{self.admin}/metrics")).text

    @staticmethod
    def _backstage(url: str, path: str) -> str:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}{path}"
