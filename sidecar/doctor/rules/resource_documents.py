"""Protected resource metadata (RFC 9728) at both places, and its `resource`, which must be the URL byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from sidecar.doctor.rules.address import is_fetchable, origin_of
from sidecar.doctor.rules.findings import Finding, fail, ok, warn
from sidecar.doctor.rules.probe_answer import ProbeAnswer, cause_of
from sidecar.identity.invalid_token import shown
from sidecar.proxy.listener.documents import WELL_KNOWN, metadata_paths

CHECK: Final = "metadata"
MAX_SERVERS: Final = 3
"""Authorization servers that are looked at; clients take the first."""


def document_locations(url: str) -> tuple[str, ...]:
    """Return the places where clients look, in their order."""
    return tuple(origin_of(url) + path for path in metadata_paths(url))


def judge_documents(answers: Mapping[str, ProbeAnswer], url: str) -> Iterator[Finding]:
    """Judge the documents, by location; the root one may be that of another server of the same origin."""
    root = origin_of(url) + WELL_KNOWN
    main = document_locations(url)[0]
    for location, answer in answers.items():
        for finding in _judge(location, answer, url):
            shared = location == root != main and finding.severity == "fail" and _foreign(answer, url)
            yield warn(CHECK, finding.says, finding.fix) if shared else finding
    documents = [answer.document for answer in answers.values() if _names(answer, url)]
    if any(each != documents[0] for each in documents[1:]):
        yield fail(
            CHECK,
            "the documents of this resource differ, so clients behave differently by where they look first",
            "let the sidecar answer all of them; purge caches",
        )


def _names(answer: ProbeAnswer, url: str) -> bool:
    return answer.good and (answer.document or {}).get("resource") == url


def _foreign(answer: ProbeAnswer, url: str) -> bool:
    """Return True for a document of another path of the same origin, or for none."""
    named = (answer.document or {}).get("resource") if answer.good else None
    if answer.status == 404:
        return True
    return isinstance(named, str) and named != url and is_fetchable(named, url) and origin_of(named) == origin_of(url)


def _judge(location: str, answer: ProbeAnswer, url: str) -> Iterator[Finding]:
    place = urlsplit(location).path
    if not answer.good:
        says, fix = cause_of(answer)
        yield fail(CHECK, f"{place}: {says}", fix)
        return
    document = answer.document
    if document is None:
        fix = "route /.well-known/oauth-protected-resource to the sidecar"
        yield fail(CHECK, f"{place}: answered {shown(answer.media_type)} that is no JSON object", fix)
        return
    found = [*_resource(place, document.get("resource"), url), *_members(place, document, url)]
    if answer.media_type != "application/json":
        fix = "let the proxy pass Content-Type"
        found.append(warn(CHECK, f"{place}: Content-Type {shown(answer.media_type)}, not application/json", fix))
    yield from found or [ok(CHECK, f"{place} names the URL")]


def _resource(place: str, named: object, url: str) -> Iterator[Finding]:
    if named == url:
        return
    fix = f"set `resource` to {url} and reload, or give clients the URL that it names; both must be the same bytes"
    if not isinstance(named, str):
        yield fail(CHECK, f"{place}: no resource", fix)
        return
    reason = "another URL"
    one, other = urlsplit(named), urlsplit(url)
    if named.rstrip("/") == url.rstrip("/"):
        reason = "the same but for a slash at the end, which is another audience"
    elif one._replace(scheme="") == other._replace(scheme=""):
        reason = "another scheme; behind a proxy with TLS, `resource` has https://"
    elif one._replace(netloc="") == other._replace(netloc=""):
        reason = "another host; it has to be the public one"
    elif one._replace(path="") == other._replace(path=""):
        reason = "another path; a proxy that rewrites paths must leave this one"
    yield fail(CHECK, f"{place}: resource is {shown(named)}, not {url}: {reason}", fix)


def _members(place: str, document: Mapping[str, Any], url: str) -> Iterator[Finding]:
    servers = document.get("authorization_servers")
    if not is_texts(servers) or not servers:
        yield fail(CHECK, f"{place}: no authorization_servers: clients find no login", "set `advertise` of an issuer")
    else:
        for server in servers:
            if not is_fetchable(server, url):
                yield fail(CHECK, f"{place}: {shown(server)} is no https:// URL", "announce issuers by https://")
    methods = document.get("bearer_methods_supported")
    if methods is not None and (not is_texts(methods) or "header" not in methods):
        fix = "let the sidecar answer this path"
        yield warn(CHECK, f"{place}: bearer_methods_supported is {shown(methods)}, without header", fix)
    if not is_texts(document.get("scopes_supported", [])):
        yield fail(CHECK, f"{place}: scopes_supported is no list of texts", "let the sidecar answer this path")


def is_texts(value: object) -> bool:
    """Return True for a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def announced(answers: Mapping[str, ProbeAnswer], url: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return issuers and scopes of the document that clients use: the first one that can be read."""
    for answer in answers.values():
        document = answer.document if answer.good else None
        if document is not None:
            servers, scopes = document.get("authorization_servers"), document.get("scopes_supported")
            usable = [each for each in servers if is_fetchable(each, url)] if is_texts(servers) and servers else []
            return tuple(usable[:MAX_SERVERS]), tuple(scopes) if is_texts(scopes) and scopes else ()
    return (), ()
