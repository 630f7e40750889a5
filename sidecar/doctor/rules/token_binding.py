"""Token of the operator: read on this machine, then compared with the URL, the issuers and the server's answer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from sidecar.doctor.rules.challenge_header import as_clients_read
from sidecar.doctor.rules.findings import Finding, fail, ok, unchecked, warn
from sidecar.doctor.rules.probe_answer import ProbeAnswer, cause_of
from sidecar.errors import Refusal
from sidecar.identity.invalid_token import shown
from sidecar.identity.jwt import jwt_claims

CHECK: Final = "token"
_ROUTING: Final = "routing"
_RENEW: Final = "log in again"
_BIND: Final = "the client must send resource={} at the login, and the issuer must write it into `aud`"


def judge_token(text: str, url: str, issuers: Collection[str], now: float, *, accepted: bool) -> Iterator[Finding]:
    """Judge the claims of a token.

    Args:
        text: the token; never part of a finding.
        url: the public URL.
        issuers: those that the metadata announces.
        now: local time, in seconds since the epoch.
        accepted: the server took the token, so its config allows what is unusual.
    """
    if not jwt_claims.is_jwt(text):
        yield unchecked(CHECK, "it is opaque: `aud` and times are known to the issuer only")
        return
    try:
        claims = jwt_claims.read(text).claims
    except Refusal as refusal:
        yield fail(CHECK, f"{refusal.log or refusal.detail}", f"use an access token of {url}")
        return
    yield _audience(claims, url, accepted=accepted)
    issuer = claims.get("iss")
    if issuers and issuer not in issuers:
        says = f"iss is {shown(issuer)}, and {' or '.join(shown(each) for each in issuers)} is announced"
        yield warn(CHECK, says, "log in at the announced issuer, or correct `issuers`")
    yield from _times(claims, now)


def _audience(claims: Mapping[str, Any], url: str, *, accepted: bool) -> Finding:
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if url in named:
        return ok(CHECK, "aud names the URL")
    says = f"aud is {'absent' if audience is None else shown(audience)}, not {url}"
    if any(isinstance(each, str) and each.rstrip("/") == url.rstrip("/") for each in named):
        says += ": a slash at the end is another audience"
    if accepted:
        return warn(CHECK, f"{says}; the server accepts it by its config", _BIND.format(url))
    return fail(CHECK, says, _BIND.format(url))


def _times(claims: Mapping[str, Any], now: float) -> Iterator[Finding]:
    expires, issued = claims.get("exp"), claims.get("iat")
    if isinstance(expires, int | float) and expires <= now:
        yield fail(CHECK, f"it has expired {_seconds(now - expires)} ago by this machine's clock", _RENEW)
    if isinstance(issued, int | float) and issued > now + 1:
        says = f"it is issued {_seconds(issued - now)} in the future by this machine's clock"
        yield warn(CHECK, says, "synchronise the clocks (NTP) of this machine and of the issuer")


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if abs(seconds) < 1e9 else "a long time"


def judge_acceptance(answer: ProbeAnswer) -> Iterator[Finding]:
    """Judge the answer to `initialize` with the token."""
    if answer.good:
        yield ok(CHECK, "the server accepts it")
        return
    if answer.status == 401:
        header = answer.header("www-authenticate") or ""
        reason = as_clients_read(header, "error_description")
        says = f"the server refuses it: {shown(reason)}" if reason else "the server refuses it, and says no reason"
        fix = "run `mcp-sidecar explain --token-file` where the config is; it shows every check"
        yield fail(CHECK, says, fix)
        return
    says, fix = cause_of(answer)
    yield fail(CHECK, f"initialize with the token: {says}", fix)


def judge_headers(answer: ProbeAnswer) -> Iterator[Finding]:
    """Judge if the headers of 2026-07-28 arrive."""
    if answer.code == "header_mismatch":
        yield fail(_ROUTING, *cause_of(answer))


def judge_session(answer: ProbeAnswer) -> Iterator[Finding]:
    """Judge the answer to the second message of a session."""
    if answer.status in (400, 404):
        yield fail(
            _ROUTING,
            f"the second message of a session is {answer.problem_or_status}: Mcp-Session-Id is lost on the way",
            "let the proxy pass Mcp-Session-Id in both directions",
        )
