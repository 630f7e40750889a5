"""Examination of a public URL: the requests of a client, in its order, and the findings of the rules."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sidecar import __version__
from sidecar.doctor.probe import Probe
from sidecar.doctor.rules import browser_access, login_trial, stream_timing
from sidecar.doctor.rules.address import is_fetchable, judge_address, origin_of
from sidecar.doctor.rules.challenge_header import READ, as_clients_read
from sidecar.doctor.rules.clock_skew import judge_clocks
from sidecar.doctor.rules.findings import Finding, Severity, fail, unchecked
from sidecar.doctor.rules.first_contact import judge_authorization, judge_challenge, judge_source
from sidecar.doctor.rules.issuer_documents import (
    is_last,
    judge_discovery,
    judge_pkce,
    judge_registration,
    registration_endpoint,
)
from sidecar.doctor.rules.probe_answer import ProbeAnswer, as_body
from sidecar.doctor.rules.resource_documents import announced, document_locations, judge_documents
from sidecar.doctor.rules.token_binding import judge_acceptance, judge_headers, judge_session, judge_token
from sidecar.errors import Refusal
from sidecar.identity.jwt.discovery import metadata_locations
from sidecar.model import Revision
from sidecar.protocol.headers import check_session
from sidecar.protocol.meta import CAPABILITIES_KEY, CLIENT_KEY, VERSION_KEY

WAIT: Final = 20.0
"""Seconds to wait for a stream's first bytes; `backend.keepalive` is 15 s by default."""

_NEWEST: Final = Revision.V2026_07_28.value
_LEGACY: Final = Revision.V2025_11_25.value
_CLIENT: Final = {"name": "mcp-sidecar-doctor", "version": __version__}
_JSON: Final = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
_INITIALIZE: Final = as_body(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": _LEGACY, "capabilities": {}, "clientInfo": _CLIENT},
    }
)
_NO_TOKEN: Final = "mcp-sidecar-doctor"  # noqa: S105 - a token that no issuer issues


@dataclass(frozen=True, slots=True)
class CheckupOptions:
    """Options of an examination.

    Attributes:
        token: an access token for the URL; None: checks that need one are reported as unchecked.
        register: register a client where dynamic registration is announced.
        origin: of pages that must be able to call; None: the URL's own, and findings are warnings.
        wait: seconds; see `WAIT`.
    """

    token: str | None = field(default=None, repr=False)
    register: bool = False
    origin: str | None = None
    wait: float = WAIT


async def examine(url: str, options: CheckupOptions) -> tuple[Finding, ...]:
    """Examine a public URL.

    Args:
        url: as clients are given it; see `address.split_url`.
        options: which optional checks are made.
    """
    findings = list(judge_address(url))
    async with Probe(url) as probe:
        await _Checkup(url, options, probe, findings).run()
    return tuple(_without(options.token, each) for each in findings)


def _without(token: str | None, finding: Finding) -> Finding:
    """Return a finding without the token, which a server may send back."""
    if token is None:
        return finding
    return replace(finding, says=finding.says.replace(token, "TOKEN"), fix=finding.fix.replace(token, "TOKEN"))


class _Checkup:
    def __init__(self, url: str, options: CheckupOptions, probe: Probe, findings: list[Finding]) -> None:
        self._url = url
        self._options = options
        self._probe = probe
        self._findings = findings
        self._issuers: tuple[str, ...] = ()
        self._scopes: tuple[str, ...] = ()

    async def run(self) -> None:
        first = await self._post(_INITIALIZE)
        if first.status == 0:
            cure = "check name, certificate, firewall and listener"
            self._findings.append(fail("reach", f"{self._url}: {first.problem}", cure))
            return
        self._findings += judge_challenge(first, self._url)
        self._findings += judge_source(first)
        self._findings += judge_authorization(await self._post(_INITIALIZE, _bearer(_NO_TOKEN)))
        await self._metadata(first)
        asked = [(issuer, await self._issuer(issuer)) for issuer in self._issuers]
        self._findings += judge_clocks(first, [(issuer, answer) for issuer, answer in asked if answer is not None])
        await self._browser()
        await self._token()

    async def _post(self, body: bytes, headers: Mapping[str, str] | None = None) -> ProbeAnswer:
        return await self._probe.send("POST", self._url, {**_JSON, **(headers or {})}, body)

    # --- login -----------------------------------------------------------------------------------

    async def _metadata(self, first: ProbeAnswer) -> None:
        locations = list(document_locations(self._url))
        challenge = first.header("www-authenticate") or ""
        named = as_clients_read(challenge, READ[0])
        if named is not None and is_fetchable(named, self._url) and origin_of(named) == origin_of(self._url):
            locations.insert(0, named)
        headers = {"MCP-Protocol-Version": _LEGACY, "Origin": browser_access.FOREIGN}
        answers = {place: await self._probe.send("GET", place, headers) for place in dict.fromkeys(locations)}
        self._findings += judge_documents(answers, self._url)
        self._issuers, self._scopes = announced(answers, self._url)
        scope = as_clients_read(challenge, "scope")
        self._scopes = tuple(scope.split()) if scope else self._scopes
        for answer in answers.values():
            self._findings += browser_access.judge_metadata(answer, self._browser_severity)

    async def _issuer(self, issuer: str) -> ProbeAnswer | None:
        """Look for an issuer's metadata as clients do; return the last answer of its server."""
        answers: list[ProbeAnswer] = []
        for location in metadata_locations(issuer):
            answers.append(await self._probe.send("GET", location, {"MCP-Protocol-Version": _LEGACY}))
            if is_last(answers[-1]):
                break
        found, document = judge_discovery(issuer, answers, self._url)
        self._findings += found
        if document is not None:
            self._findings.append(judge_pkce(document))
            await self._registration(document)
        return answers[-1] if answers else None

    async def _registration(self, document: Mapping[str, Any]) -> None:
        endpoint = registration_endpoint(document, self._url)
        tries = self._options.register and endpoint is not None
        self._findings += judge_registration(document, self._url, tried=tries)
        if endpoint is None or not tries:
            if self._options.token is None:  # its `aud` shows it
                self._findings.append(login_trial.unknown_resource(document))
            return
        body = as_body(login_trial.client_document(self._scopes))
        answer = await self._probe.send("POST", endpoint, {"Content-Type": "application/json"}, body)
        self._findings.append(login_trial.judge_registered(answer))
        client = login_trial.registered_id(answer)
        if client is not None:
            await self._login(document, client)
            self._findings.append(login_trial.judge_removed(client, await self._remove(answer)))

    async def _login(self, document: Mapping[str, Any], client: str) -> None:
        endpoint = document.get("authorization_endpoint")
        if not isinstance(endpoint, str) or not is_fetchable(endpoint, self._url):
            return
        own, foreign = [
            await self._probe.send("GET", login_trial.authorization_url(endpoint, client, resource, self._scopes))
            for resource in (self._url, login_trial.FOREIGN)
        ]
        self._findings += login_trial.judge_resource(own, foreign, self._url)

    async def _remove(self, answer: ProbeAnswer) -> ProbeAnswer | None:
        access = login_trial.removal(answer)
        return None if access is None else await self._probe.send("DELETE", access[0], _bearer(access[1]))

    # --- pages -----------------------------------------------------------------------------------

    @property
    def _browser_severity(self) -> Severity:
        return Severity.WARN if self._options.origin is None else Severity.FAIL

    async def _browser(self) -> None:
        origin, severity = self._options.origin or origin_of(self._url), self._browser_severity
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": ", ".join(browser_access.SENT),
        }
        preflight = await self._probe.send("OPTIONS", self._url, asked)
        self._findings += browser_access.judge_preflight(preflight, origin, severity)
        call = await self._post(_INITIALIZE, {"Origin": origin})
        self._findings += browser_access.judge_readable(call, origin, severity)
        foreign = await self._post(_INITIALIZE, {"Origin": browser_access.FOREIGN})
        self._findings += browser_access.judge_foreign(foreign)

    # --- token -----------------------------------------------------------------------------------

    async def _token(self) -> None:
        token = self._options.token
        if token is None or not is_fetchable(self._url, self._url):
            says = "no token was given" if token is None else "it is not sent over http://"
            fix = "give an https:// URL, and a token of a client by --token-file"
            self._findings.append(unchecked("token", says, fix))
            self._findings.append(unchecked("stream", stream_timing.NEEDS_TOKEN, fix))
            return
        bearer = _bearer(token)
        begun = await self._post(_INITIALIZE, bearer)
        now, accepted = time.time(), begun.good
        self._findings += judge_token(token, self._url, self._issuers, now, accepted=accepted)
        modern = await self._post(*_modern("server/discover", bearer))
        self._findings += judge_headers(modern)
        if modern.good or accepted:
            self._findings += judge_acceptance(begun if accepted else modern)
            await self._stream(begun, bearer)
        else:
            self._findings += judge_acceptance(begun)
            self._findings.append(unchecked("stream", stream_timing.NEEDS_TOKEN, "give a token that is accepted"))

    async def _stream(self, begun: ProbeAnswer, bearer: Mapping[str, str]) -> None:
        """Open the server's own stream: GET in the older revisions, else `subscriptions/listen`."""
        trial = None
        if begun.good:
            headers = _session(begun, bearer)
            notified = await self._post(as_body({"jsonrpc": "2.0", "method": "notifications/initialized"}), headers)
            self._findings += judge_session(notified)
            stream = {name: value for name, value in headers.items() if name != "Content-Type"}
            trial = await self._probe.open_stream(
                "GET", {**stream, "Accept": "text/event-stream"}, None, self._options.wait
            )
            if "Mcp-Session-Id" in headers:
                await self._probe.send("DELETE", self._url, headers)
        if trial is None or not stream_timing.is_stream(trial):
            body, sent = _modern("subscriptions/listen", bearer, {"notifications": {"toolsListChanged": True}})
            listened = await self._probe.open_stream("POST", {**_JSON, **sent}, body, self._options.wait)
            trial = listened if trial is None or stream_timing.is_stream(listened) else trial
        self._findings.append(stream_timing.judge_stream(trial))


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _session(begun: ProbeAnswer, bearer: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of later requests of the session that `initialize` began, if it began one."""
    headers = {**bearer, "MCP-Protocol-Version": _LEGACY}
    result = (begun.document or {}).get("result")
    version = result.get("protocolVersion") if isinstance(result, dict) else None
    if version in [each.value for each in Revision]:
        headers["MCP-Protocol-Version"] = str(version)
    session = begun.header("mcp-session-id")
    if session is not None:
        try:
            check_session(session)
        except Refusal:
            return headers
        headers["Mcp-Session-Id"] = session
    return headers


def _modern(
    method: str, bearer: Mapping[str, str], params: Mapping[str, Any] | None = None
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request of 2026-07-28."""
    meta = {VERSION_KEY: _NEWEST, CAPABILITIES_KEY: {}, CLIENT_KEY: _CLIENT}
    message = {"jsonrpc": "2.0", "id": 2, "method": method, "params": {**(params or {}), "_meta": meta}}
    return as_body(message), {**bearer, "MCP-Protocol-Version": _NEWEST, "Mcp-Method": method}
