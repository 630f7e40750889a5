"""What differs between the MCP revisions: which one a request speaks, and what that asks of it.

2026-07-28 says everything in each request (`_meta` and headers); the older revisions agree on a
version at `initialize` and repeat it in a header. A message becomes a `Call` here.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind, Revision
from sidecar.protocol import task_ids, tasks
from sidecar.protocol.headers import McpHeaders, check_mirrors, check_session
from sidecar.protocol.jsonrpc import Message, is_request_id
from sidecar.protocol.members import Members, check_members, malformed, poisoned
from sidecar.protocol.meta import CAPABILITIES_KEY, VERSION_KEY
from sidecar.protocol.references import references

_ALL: Final = frozenset(Revision)
_STATELESS: Final = frozenset(revision for revision in Revision if revision.stateless)
_SESSIONS: Final = _ALL - _STATELESS
_CORE_TASKS: Final = frozenset({Revision.V2025_11_25})

METHODS: Final[Mapping[str, frozenset[Revision]]] = {
    "initialize": _SESSIONS,
    "ping": _SESSIONS,
    "logging/setLevel": _SESSIONS,
    "resources/subscribe": _SESSIONS,
    "resources/unsubscribe": _SESSIONS,
    "server/discover": _STATELESS,
    "subscriptions/listen": _STATELESS,
    "completion/complete": _ALL,
    "prompts/get": _ALL,
    "prompts/list": _ALL,
    "resources/list": _ALL,
    "resources/read": _ALL,
    "resources/templates/list": _ALL,
    "tools/call": _ALL,
    "tools/list": _ALL,
    "tasks/get": _CORE_TASKS | _STATELESS,
    "tasks/cancel": _CORE_TASKS | _STATELESS,
    "tasks/update": _STATELESS,
    "tasks/list": _CORE_TASKS,
    "tasks/result": _CORE_TASKS,
    "notifications/initialized": _SESSIONS,
    "notifications/roots/list_changed": _SESSIONS,
    "notifications/cancelled": _ALL,
    "notifications/progress": _SESSIONS,
    "notifications/tasks/status": _CORE_TASKS,
}
"""Every method a client may send by the specification, and the revisions that have it."""

# The type of each parameter that is checked.
_TYPES: Final[Mapping[str, type]] = {
    "_meta": dict,
    "argument": dict,
    "arguments": dict,
    "capabilities": dict,
    "context": dict,
    "cursor": str,
    "inputResponses": dict,
    "level": str,
    "name": str,
    "notifications": dict,
    "protocolVersion": str,
    "ref": dict,
    "requestState": str,
    "task": dict,
    "taskId": str,
    "uri": str,
}


_LIST: Final = Members.of("_meta", "cursor")
_URI: Final = Members.of("_meta", required="uri")
_TASK: Final = Members.of("_meta", required="taskId")
_RETRY: Final = ("_meta", "inputResponses", "requestState")
_READ: Final[Mapping[str, Members]] = {
    "tools/call": Members.of(*_RETRY, "arguments", "task", required="name"),
    "prompts/get": Members.of(*_RETRY, "arguments", required="name"),
    "resources/read": Members.of(*_RETRY, required="uri"),
    "resources/subscribe": _URI,
    "resources/unsubscribe": _URI,
    "completion/complete": Members.of("_meta", "argument", "context", required="ref"),
    "subscriptions/listen": Members.of("_meta", required="notifications"),
    "logging/setLevel": Members.of("_meta", required="level"),
    "tools/list": _LIST,
    "prompts/list": _LIST,
    "resources/list": _LIST,
    "resources/templates/list": _LIST,
    "initialize": Members.of("_meta", "capabilities", required="protocolVersion"),
    "tasks/get": _TASK,
    "tasks/result": _TASK,
    "tasks/update": Members.of("_meta", "inputResponses", required="taskId"),
    "tasks/cancel": _TASK,
    "notifications/cancelled": Members.of("_meta", "reason", required="requestId"),
    "notifications/tasks/status": _TASK,
}
_READ_ANYWHERE: Final = Members.of("_meta")
_READ_META: Final = Members.of(VERSION_KEY, CAPABILITIES_KEY)
_READ_CAPABILITIES: Final = Members.of("tasks", "extensions")

# --- in ------------------------------------------------------------------------------------------


def call_of(message: Message, headers: McpHeaders, declared: Container[str] = ()) -> Call:
    """The call that a POSTed message makes, under the revision it speaks.

    Args:
        message: what was POSTed.
        headers: what its headers say.
        declared: the methods that the policy declares; they say whether tasks are served.

    Raises:
        Refusal: `version_unsupported`, `header_mismatch`, `params_malformed`, `message_malformed`,
            `capability_missing`, `session_unknown`.
    """
    revision = revision_of(message, headers)
    if message.kind is CallKind.RESPONSE:
        _check_response(message, revision)
    _check_params(message, revision)
    request = message.kind is CallKind.REQUEST
    if request and revision.stateless:
        _check_envelope(message.params)
    if message.kind is not CallKind.RESPONSE:
        check_mirrors(headers, message, required=request and revision.stateless)
    task_ids.check_names(message)
    served = tasks.served(revision, declared)
    if served:
        tasks.check_declared(message, revision)
    params, document = tasks.plain(message, revision, served=served)
    if message.method == "initialize" and not revision.stateless:
        document = _offering(document)
    return Call(
        kind=message.kind,
        revision=revision,
        method=message.method,
        id=message.id,
        params=params,
        document=document,
        session=None if revision.stateless else check_session(headers.session),
        carried=headers.params if revision.stateless else (),
        tasks=task_ids.asked(message) if served else (),
    )


def bodiless_call(http_method: str, headers: McpHeaders) -> Call:
    """The call that a GET (a stream of the server's messages) or DELETE (end of a session) makes.

    A stream is resumed within its session alone: without one nothing says whose events these are, so a
    `Last-Event-ID` is not passed on and the stream begins anew.

    Raises:
        Refusal: `http_method_refused` in 2026-07-28, which has neither; `version_unsupported`,
            `session_unknown`.
    """
    revision = _named(headers.version) if headers.version is not None else Revision.V2025_03_26
    if revision.stateless:
        raise Refusal(ErrorCode.HTTP_METHOD_REFUSED)
    kind = CallKind.STREAM if http_method == "GET" else CallKind.END_SESSION
    session = check_session(headers.session)
    resumed = headers.last_event_id if kind is CallKind.STREAM and session is not None else None
    return Call(kind=kind, revision=revision, session=session, last_event_id=resumed or None)


def revision_of(message: Message, headers: McpHeaders) -> Revision:
    """The revision a message speaks; a request that contradicts itself speaks none.

    Raises:
        Refusal: `header_mismatch` when the body names another version than the header, or the
            header is missing; `version_unsupported`.
    """
    claimed = claimed_version(message.params)
    if message.kind is CallKind.NOTIFICATION and headers.version is None and isinstance(claimed, str):
        return _named(claimed, _STATELESS)  # 2026-07-28 leaves open which headers a notification has
    if claimed is not None and claimed != headers.version:
        raise Refusal(
            ErrorCode.HEADER_MISMATCH, "The header MCP-Protocol-Version is missing or does not agree with the body."
        )
    if headers.version is not None:
        return _named(headers.version, _ALL if claimed is None else _STATELESS)
    if message.method == "initialize":
        return _offered(message.params.get("protocolVersion"))
    return Revision.V2025_03_26  # 2025-06-18, basic/transports: what a missing header stands for


def claimed_version(params: Mapping[str, Any]) -> object:
    """What a message says its version is; None when it does not say, as in all older revisions."""
    meta = params.get("_meta")
    return meta.get(VERSION_KEY) if isinstance(meta, dict) else None


def _named(version: str, offered: frozenset[Revision] = _ALL) -> Revision:
    """The revision of this name; a client that names another one is told of those `offered` to its like.

    Whoever says its version in every request can speak the stateless ones so; the older ones are agreed
    on at `initialize`, and whether the backend has them is the backend's to say there.
    """
    try:
        return Revision(version)
    except ValueError:
        supported = [revision.value for revision in reversed(Revision) if revision in offered]
        data = {"supported": supported, "requested": version[:64]}
        raise Refusal(ErrorCode.VERSION_UNSUPPORTED, data=data) from None


def _offered(version: object) -> Revision:
    """What a client offers at `initialize`; the backend may still answer with another."""
    known = next((revision for revision in _SESSIONS if revision.value == version), None)
    return known or Revision.V2025_11_25


def _offering(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """An `initialize` that offers a revision that is served.

    A backend might agree to another one, and every request after it would be refused here.
    """
    params = document["params"]
    offered = _offered(params["protocolVersion"]).value
    if params["protocolVersion"] == offered:
        return document
    return {**document, "params": {**params, "protocolVersion": offered}}


def _check_response(message: Message, revision: Revision) -> None:
    if revision.stateless:
        raise Refusal(ErrorCode.MESSAGE_MALFORMED, "Clients send no responses in this protocol version.")
    if poisoned(message.document):
        raise Refusal(ErrorCode.MESSAGE_MALFORMED, "The response has a member of a name that backends may execute.")


def _check_params(message: Message, revision: Revision) -> None:
    """Refuse parameters that the sidecar reads and a backend might read differently.

    A method that the revision does not have is an unknown one, whatever it may lack elsewhere.
    """
    params, known = message.params, revision in METHODS.get(message.method, _ALL)
    read = _READ.get(message.method, _READ_ANYWHERE) if known else _READ_ANYWHERE
    check_members(params, read)
    for name, value in params.items():
        # The policy judges a tool's arguments: their schema may list such a name.
        if not (name == "arguments" and message.method == "tools/call") and poisoned(value):
            raise malformed("A member of params has a name that some backends take for something else than data.")
        right = is_request_id(value) if name == "requestId" else isinstance(value, _TYPES.get(name, object))
        if name in read.names and not right:
            raise malformed(f"params.{name} has the wrong type.")
    if read.required is not None and read.required not in params:
        raise malformed(f"params.{read.required} is missing.")
    if known:
        references(message.method, params)
    meta = params.get("_meta", {})
    check_members(meta, _READ_META)
    capabilities = params.get("capabilities") if message.method == "initialize" else meta.get(CAPABILITIES_KEY)
    if isinstance(capabilities, dict):
        check_members(capabilities, _READ_CAPABILITIES)


def _check_envelope(params: Mapping[str, Any]) -> None:
    """What every request of 2026-07-28 says of itself (basic/index, per-request fields)."""
    meta = params.get("_meta", {})
    if not isinstance(meta.get(VERSION_KEY), str):
        raise malformed(f"params._meta must hold the string {VERSION_KEY}.")
    if not isinstance(meta.get(CAPABILITIES_KEY), dict):
        raise malformed(f"params._meta must hold the object {CAPABILITIES_KEY}.")
