"""First answer to a client without a token: the challenge, and the signs of proxies that change requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sidecar.doctor.rules.address import is_fetchable, origin_of
from sidecar.doctor.rules.challenge_header import (
    MAX_HEADER,
    READ,
    ChallengeSyntaxError,
    as_clients_read,
    first_scheme,
    parse_first,
)
from sidecar.doctor.rules.findings import Finding, fail, ok, unchecked, warn
from sidecar.doctor.rules.probe_answer import ProbeAnswer, cause_of
from sidecar.identity.invalid_token import shown
from sidecar.proxy.listener.documents import metadata_url

CHALLENGE: Final = "challenge"
ROUTING: Final = "routing"
_KEEP: Final = "let the proxy pass WWW-Authenticate of 401 and 403 answers unchanged, and answer none of them itself"
_ID: Final = "x-request-id"


def judge_challenge(answer: ProbeAnswer, url: str) -> Iterator[Finding]:
    """Judge the answer to a message without a token."""
    if answer.good:
        yield fail(
            CHALLENGE,
            f"answered {answer.status} without a token: anyone can call this server",
            "route the URL to the sidecar and not to the backend",
        )
        return
    if answer.problem is not None or answer.status != 401:
        yield fail(CHALLENGE, *cause_of(answer))
        return
    header = answer.header("www-authenticate")
    if header is None:
        yield fail(CHALLENGE, "401 without WWW-Authenticate: clients find no login", _KEEP)
        return
    found = list(_problems(header, url))
    yield from found or [ok(CHALLENGE, f"Bearer, resource_metadata={as_clients_read(header, READ[0])}")]


def _problems(header: str, url: str) -> Iterator[Finding]:
    if len(header) > MAX_HEADER:
        yield fail(CHALLENGE, f"WWW-Authenticate has {len(header)} characters", f"keep it below {MAX_HEADER}")
        return
    scheme = first_scheme(header)
    if scheme.lower() != "bearer":
        says = f"the first challenge is {shown(scheme)}, and clients read nothing behind it"
        yield fail(CHALLENGE, says, "remove the proxy's own authentication for this path")
        return
    try:
        parameters = parse_first(header)
    except ChallengeSyntaxError:
        yield fail(CHALLENGE, f"malformed (RFC 9110 section 11.6.1): {shown(header)}", _KEEP)
        return
    for name in READ:
        seen, meant = as_clients_read(header, name), parameters.get(name)
        if seen != meant:
            yield fail(
                CHALLENGE,
                f"official clients read {name} as {shown(seen or 'nothing')}, and it is {shown(meant or 'nothing')}",
                "quote every value, put scope before error_description, and send no = inside a value",
            )
    if "error" in parameters:
        yield warn(
            CHALLENGE,
            "it has an error although no token was sent: a proxy adds an Authorization header",
            "let the proxy pass Authorization unchanged and add none",
        )
    yield from _location(parameters.get(READ[0]), url)


def _location(named: str | None, url: str) -> Iterator[Finding]:
    expected = metadata_url(url)
    if named is None:
        yield fail(CHALLENGE, "no resource_metadata: clients have to guess where the metadata is", _KEEP)
    elif not is_fetchable(named, url):
        yield fail(
            CHALLENGE,
            f"resource_metadata={shown(named)} is no https:// URL",
            f"set `resource` to the public URL, {url}",
        )
    elif origin_of(named) != origin_of(url):
        yield fail(
            CHALLENGE,
            f"resource_metadata={shown(named)} is on another origin than the URL",
            f"set `resource` to the public URL, {url}",
        )
    elif named != expected:
        yield warn(CHALLENGE, f"resource_metadata={shown(named)}, and not {expected}", f"set `resource` to {url}")


def judge_source(answer: ProbeAnswer) -> Iterator[Finding]:
    """Judge from the challenge's answer if the sidecar itself gave it, and all of it arrived."""
    if answer.problem is not None:
        return
    own = answer.code is not None
    if answer.values(_ID) and own:
        yield ok(ROUTING, f"answered by the sidecar, X-Request-Id {shown(answer.header(_ID))}")
    elif own:
        yield warn(
            ROUTING,
            "the sidecar's answer arrives without X-Request-Id, so callers cannot name a call to you",
            "let the proxy pass X-Request-Id of answers",
        )
    elif answer.status == 401:
        yield fail(
            ROUTING,
            "this 401 is not the sidecar's: another component answers, or replaces error pages",
            "remove authentication and error pages of the proxy for this path (nginx: proxy_intercept_errors off)",
        )


def judge_authorization(answer: ProbeAnswer) -> Iterator[Finding]:
    """Judge the answer to a token that is none: it must differ from the answer to no token."""
    header = answer.header("www-authenticate") or ""
    if answer.good:
        yield fail(ROUTING, "a token that is none was accepted", "route the URL to the sidecar and not to the backend")
    elif answer.problem is not None or answer.status != 401:
        yield unchecked(ROUTING, f"Authorization: {cause_of(answer)[0]}")
    elif header and as_clients_read(header, "error") != "invalid_token":
        yield fail(
            ROUTING,
            "a token was sent, and the answer is that of a request without one: Authorization does not arrive",
            "let the proxy pass Authorization (Apache: no mod_auth on this path; CGI bridges: CGIPassAuth On)",
        )
    elif header:
        yield ok(ROUTING, "Authorization arrives")
