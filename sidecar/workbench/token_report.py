"""Report on a JWT access token: every check of gate 2, with the value found and those accepted. Pure.

Each check runs by itself, so that a failure hides no other. The signature is not verified, and nothing is fetched: the
token may come from anywhere, and the keys are the running sidecar's. The verdict is that of the code that serves calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from sidecar.config.settings.settings import IssuerSettings, Settings
from sidecar.config.settings.token_settings import ClientAudience
from sidecar.errors import Refusal
from sidecar.identity import claims as rules
from sidecar.identity.audience import check_audience
from sidecar.identity.claim_path import value_at
from sidecar.identity.invalid_token import shown
from sidecar.identity.jwt import jwt_claims
from sidecar.identity.jwt.jwt_claims import Token
from sidecar.identity.parties.tenants import TrustedIssuers
from sidecar.identity.token_kind import ACCESS_TYPES, UNTYPED, check_kind, check_unbound
from sidecar.identity.token_scopes import DEFAULT_PATHS, granted, scopes_of
from sidecar.model import Caller
from sidecar.policy.rules import Policy

OK: Final = "ok"
"""Outcome of a token that passes every check that is made here."""
UNVERIFIED: Final = "the signature is not verified: this command fetches no keys"

_MARKS: Final = {True: "pass", False: "FAIL", None: "-"}
_ABSENT: Final = "none"


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """Result of one check.

    Attributes:
        check: its name, as in the log's `detail`.
        passed: None when it is not made, or when it refuses nothing.
        found: the value in the token, or `none`.
        accepted: the accepted values.
        says: the finding, with both.
    """

    check: str
    passed: bool | None
    found: str | None
    accepted: str | None
    says: str


@dataclass(frozen=True, slots=True)
class TokenReport:
    """Report on one token.

    Attributes:
        issuer: the id of the issuer whose settings applied.
        outcome: `ok`, or the code of the refusal.
        sentence: the refusal's message to the client.
        checks: all checks, in the order of the gate.
    """

    issuer: str
    outcome: str
    sentence: str | None
    checks: tuple[TokenCheck, ...]

    def document(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"token of issuer {self.issuer}", ""]
        lines += [f"  {each.check:<10} {_MARKS[each.passed]:<4}  {each.says}" for each in self.checks]
        verdict = f"=> {self.outcome}"
        verdict += f" (HTTP 401, challenge): {self.sentence}" if self.sentence else ", if its signature holds"
        return "\n".join([*lines, "", verdict])


def report(settings: Settings, policy: Policy, text: str, now: float, verdict: Refusal | None) -> TokenReport:
    """Report on a token.

    Args:
        settings: the config.
        policy: the policy, which declares the scopes.
        text: the token, without `Bearer`.
        now: seconds since the epoch.
        verdict: its refusal by `explain_token`, if any.
    """
    issuer, checks = settings.issuers[0], list[TokenCheck]()
    try:
        token = jwt_claims.read(text)
    except Refusal as refusal:
        checks.append(_failed("form", refusal))
    else:
        # A token of no configured issuer is judged by the first one, whose iss may only be misspelt.
        with suppress(Refusal):
            issuer = _issuer_of(token, settings)
        checks += _checks(token, issuer, settings, policy, now)
    if verdict is not None and all(each.passed is not False for each in checks):
        checks.append(_failed(verdict.specifics.get("check", "token"), verdict))
    outcome, sentence = (OK, None) if verdict is None else (verdict.code.id, verdict.detail)
    return TokenReport(issuer.id, outcome, sentence, tuple(checks))


def _checks(
    token: Token, issuer: IssuerSettings, settings: Settings, policy: Policy, now: float
) -> Iterator[TokenCheck]:
    claims, audience = token.claims, _audiences(issuer, settings.resource)
    yield TokenCheck("form", True, None, None, "a signed JWT")
    algorithms = sorted(issuer.algorithms)
    yield _check("alg", token.algorithm, algorithms, lambda: jwt_claims.check_algorithm(token, issuer))
    issuers = [each.issuer for each in settings.issuers]
    yield _check("iss", claims.get("iss"), issuers, lambda: _issuer_of(token, settings))
    kinds = rules.texts(issuer.typ) or (*ACCESS_TYPES, UNTYPED)
    yield _check("typ", token.typ, kinds, lambda: check_kind(token.typ, claims, issuer))
    yield _check("cnf", claims.get("cnf"), ["no cnf"], lambda: check_unbound(claims))
    yield _check("aud", claims.get("aud"), audience, lambda: check_audience(claims, issuer, settings.resource))
    yield from _times(token, issuer.leeway, now)
    yield from _parties(token, issuer, policy, now)
    yield TokenCheck("signature", None, None, None, UNVERIFIED)


def _audiences(issuer: IssuerSettings, resource: str) -> tuple[str, ...]:
    audience = issuer.audience
    if isinstance(audience, ClientAudience):
        constants = ("no aud",) if audience.aud == "absent" else audience.aud
        return tuple(f"{each} from the client {' or '.join(audience.client_ids)}" for each in constants)
    return audience or (resource,)


def _issuer_of(token: Token, settings: Settings) -> IssuerSettings:
    return TrustedIssuers(settings.issuers).of(jwt_claims.issuer_of(token)).settings


def _times(token: Token, leeway: float, now: float) -> Iterator[TokenCheck]:
    """Check each time by itself; `exp` also against an acceptable `iat`."""
    claims, required = token.claims, jwt_claims.required_times(token)
    issued: dict[str, Any] = {}
    for name in ("iat", "nbf", "exp"):
        if name not in claims and name not in required:
            continue
        judged = {**issued, name: claims[name]} if name in claims else {}
        accepted = [f"{'after' if name == 'exp' else 'until'} {_moment(now)}, within {leeway:g} s"]
        found = _moment(claims.get(name))
        made = _check(name, found, accepted, partial(_check_time, name, judged, leeway, now))
        if name == "iat" and made.passed:
            issued = judged
        yield made


def _check_time(name: str, claims: Mapping[str, Any], leeway: float, now: float) -> None:
    rules.time_of(claims, name)
    rules.check_times(claims, leeway, now)


def _parties(token: Token, issuer: IssuerSettings, policy: Policy, now: float) -> Iterator[TokenCheck]:
    """Check the names and the scopes; a refused one is replaced, so that the next is checked, too."""
    refusals: dict[str, Refusal] = {}
    speaker: Caller | None = None
    claims = {**token.claims, "iat": 0, "exp": 1}
    while speaker is None:
        try:
            speaker = jwt_claims.caller(replace(token, claims=claims), issuer, now, policy.scope_names)
        except Refusal as refusal:
            check = str(refusal.specifics.get("check"))
            if check in refusals:
                break
            refusals[check] = refusal
            claims = _repaired(check, claims, issuer)
    for check, refused in refusals.items():
        yield _failed(check, refused)
    if speaker is not None:
        for check, describe in _PARTIES.items():
            if check not in refusals:
                yield TokenCheck(check, True, *describe(speaker, issuer))
    if "scope" not in refusals and speaker is not None:
        yield _scopes(speaker, token, issuer, policy)


def _repaired(check: str, claims: Mapping[str, Any], issuer: IssuerSettings) -> dict[str, Any]:
    """Return claims that pass a check."""
    sound = {
        "sub": {"sub": "x", issuer.claims.account: "x"},
        "client_id": {issuer.claims.client_id or "client_id": "x"},
    }
    paths = issuer.claims.scopes or DEFAULT_PATHS if check == "scope" else ()
    return {
        name: value
        for name, value in {**claims, **sound.get(check, {})}.items()
        if not any(path == name or path.startswith(f"{name}.") for path in paths)
    }


def _scopes(speaker: Caller, token: Token, issuer: IssuerSettings, policy: Policy) -> TokenCheck:
    """Describe the scopes, the path that they are from, and those that the config grants."""
    claims, declared, paths = token.claims, policy.scope_names, issuer.claims.scopes or DEFAULT_PATHS
    present = [path for path in paths if value_at(claims, path) is not None]
    used = next((path for path in present if not _at(claims, path, issuer, declared).isdisjoint(declared)), None)
    path = used or next(iter(present), None)
    source = f"no claim {' or '.join(paths)}" if path is None else f"in {path}"
    given = sorted(granted(claims, issuer, speaker.client_id))
    source += f"; granted by the config: {' '.join(given)}" if given else ""
    found, accepted = " ".join(sorted(speaker.scopes)) or _ABSENT, " ".join(declared) or _ABSENT
    usable = not speaker.scopes.isdisjoint(declared)
    return TokenCheck(
        "scope", True if usable else None, found, accepted, f"found {found} ({source}); declared {accepted}"
    )


def _at(claims: Mapping[str, Any], path: str, issuer: IssuerSettings, declared: Collection[str]) -> frozenset[str]:
    """Return the scopes at one path alone."""
    alone = issuer.claims.model_copy(update={"scopes": (path,)})
    return scopes_of(claims, issuer.model_copy(update={"claims": alone, "grants": ()}), "", declared)


# --- results -----------------------------------------------------------------------------------


def _check(check: str, found: object, accepted: Iterable[object], run: Callable[[], object]) -> TokenCheck:
    """Run one check."""
    seen = _ABSENT if found is None else shown(found)
    allowed = " or ".join(shown(each) for each in accepted)
    try:
        run()
    except Refusal as refusal:
        return _failed(check, refusal, seen, allowed)
    return TokenCheck(check, True, seen, allowed, f"found {seen}; accepted {allowed}")


def _failed(check: str, refusal: Refusal, found: str | None = None, accepted: str | None = None) -> TokenCheck:
    says = refusal.log or refusal.detail
    if "found" not in refusal.specifics and found is not None:
        says = f"{says} (found {found}; accepted {accepted})"
    return TokenCheck(
        check, False, refusal.specifics.get("found", found), refusal.specifics.get("accepted", accepted), says
    )


def _moment(seconds: object) -> str | None:
    """Return a time as a person reads it; what is none stays as it is."""
    if seconds is None:
        return None
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 2**36:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return shown(seconds)


def _account(speaker: Caller, issuer: IssuerSettings) -> tuple[str, None, str]:
    return (
        speaker.account,
        None,
        f"account {speaker.account} (claim {issuer.claims.account}), subject {speaker.subject}",
    )


def _client(speaker: Caller, issuer: IssuerSettings) -> tuple[str, None, str]:
    return speaker.client_id, None, f"client {speaker.client_id}"


_PARTIES: Final = {"sub": _account, "client_id": _client}
