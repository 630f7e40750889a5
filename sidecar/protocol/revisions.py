"""Differences between the MCP revisions: detect the revision of a request and apply its rules.

2026-07-28 puts everything into each request (`_meta` and headers). The older revisions negotiate a version at
`initialize` and repeat it in a header. This module turns a message into a `Call`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from functools import lru_cache
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind, Revision
from sidecar.protocol.headers import McpHeaders, check_mirrors, check_session
from sidecar.protocol.jsonrpc import Message, is_request_id
from sidecar.protocol.meta import CAPABILITIES_KEY, VERSION_KEY
from sidecar.protocol.references import references
from sidecar.protocol.strict.members import Members, check_members, malformed, poisoned
from sidecar.protocol.tasks import task_ids, task_support
from sidecar.protocol.usual_calls import READ_CAPABILITIES, READ_META, revision_of_usual

# Members of enums as constants: as attributes of their classes they take ten times as long.
_REQUEST: Final = CallKind.REQUEST
_RESPONSE: Final = CallKind.RESPONSE
_NOTIFICATION: Final = CallKind.NOTIFICATION

_ALL: Final = frozenset(Revision)
_STATELESS: Final = frozenset(revision for revision in Revision if revision.stateless)
_SESSIONS: Final = _ALL - _STATELESS
_CORE_TASKS: Final = frozenset({Revision.V2025_11_25})
_BY_VERSION: Final = {revision.value: revision for revision in Revision}

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
"""Every client method of the specification, with the revisions that have it."""

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
_FEW: Final = 8  # names of one object that are remembered
_READ_ANYWHERE: Final = Members.of("_meta")

# --- in ------------------------------------------------------------------------------------------


def call_of(message: Message, headers: McpHeaders, declared: Container[str] = ()) -> Call:
    """Return the call that a POSTed message makes, under the revision that it speaks.

    Args:
        message: the POSTed message.
        headers: its headers.
        declared: the methods of the policy; they decide whether tasks are served.

    Raises:
        Refusal: `version_unsupported`, `header_mismatch`, `params_malformed`, `message_malformed`,
            `capability_missing`, `session_unknown`.
    """
    revision = revision_of_usual(message, headers) or _checked_revision(message, headers)
    stateless = revision.stateless
    params, document = message.params, message.document
    tasks: tuple[str, ...] = ()
    if message.may_name_tasks:
        params, document, tasks = _read_tasks(message, revision, declared)
    if message.method == "initialize" and not stateless:
        params, document = _offering(params, document)
    # `initialize` opens a session; a session id from an earlier one is ignored.
    session = None if stateless or message.method == "initialize" else check_session(headers.session)
    carried = headers.params if stateless else ()
    # By place: a call with named arguments takes twice as long.
    return Call(
        message.kind, revision, message.method, message.id, params, document, session, carried, None, tasks
    )  # fmt: skip


def _checked_revision(message: Message, headers: McpHeaders) -> Revision:
    """Return the revision of a message once it passes all checks of its parameters and headers."""
    revision = revision_of(message, headers)
    if message.kind is _RESPONSE:
        _check_response(message, revision)
        _check_params(message, revision)
    else:
        enveloped = revision.stateless and message.kind is _REQUEST
        _check_params(message, revision, enveloped=enveloped)
        check_mirrors(headers, message, required=enveloped)
    return revision


def bodiless_call(http_method: str, headers: McpHeaders) -> Call:
    """Return the call of a GET (a stream of the server's messages) or DELETE (end of a session).

    A stream resumes only within its session: without one, the owner of the events is unknown, so the
    `Last-Event-ID` is dropped and a new stream starts.

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
    """Return the revision that a message speaks; one that contradicts itself is refused.

    Raises:
        Refusal: `header_mismatch` when the body names another version than the header, or the
            header is missing; `version_unsupported`.
    """
    claimed = claimed_version(message.params)
    if message.kind is _NOTIFICATION and headers.version is None and isinstance(claimed, str):
        return _named(claimed, _STATELESS)  # 2026-07-28 does not define the headers of a notification
    if claimed is not None and claimed != headers.version:
        raise Refusal(
            ErrorCode.HEADER_MISMATCH, "The header MCP-Protocol-Version is missing or does not match the body."
        )
    if headers.version is not None:
        return _named(headers.version, _ALL if claimed is None else _STATELESS)
    if message.method == "initialize":
        return _offered(message.params.get("protocolVersion"))
    return Revision.V2025_03_26  # 2025-06-18, basic/transports: the default for a missing header


def claimed_version(params: Mapping[str, Any]) -> object:
    """Return the version in a message's `_meta`; None without one, as in all older revisions."""
    meta = params.get("_meta")
    return meta.get(VERSION_KEY) if type(meta) is dict else None


def _named(version: str, offered: frozenset[Revision] = _ALL) -> Revision:
    """Return the revision of this name, or refuse it and list the revisions that are `offered`.

    A client that states its version in every request can use the stateless revisions that way. Older revisions are
    negotiated at `initialize`, where the backend states whether it supports them.
    """
    if version in _BY_VERSION:
        return _BY_VERSION[version]
    supported = [revision.value for revision in reversed(Revision) if revision in offered]
    raise Refusal(ErrorCode.VERSION_UNSUPPORTED, data={"supported": supported, "requested": version[:64]})


def _offered(version: object) -> Revision:
    """Return the revision that a client offers at `initialize`; the backend may answer with another one."""
    return next((revision for revision in _SESSIONS if revision.value == version), Revision.V2025_11_25)


def _offering(params: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return parameters and document of an `initialize` that offers a supported revision.

    Otherwise the backend could agree to an unsupported one, and the sidecar would refuse every later request.
    """
    offered = {"protocolVersion": _offered(params["protocolVersion"]).value}
    if params["protocolVersion"] == offered["protocolVersion"]:
        return params, document
    return {**params, **offered}, {**document, "params": {**document["params"], **offered}}


def _check_response(message: Message, revision: Revision) -> None:
    if revision.stateless:
        raise Refusal(ErrorCode.MESSAGE_MALFORMED, "Clients must not send responses in this protocol version.")
    if poisoned(message.document):
        raise Refusal(ErrorCode.MESSAGE_MALFORMED, "The response has a member with a name that backends may execute.")


def _read_tasks(
    message: Message, revision: Revision, declared: Container[str]
) -> tuple[Mapping[str, Any], Mapping[str, Any], tuple[str, ...]]:
    """Return parameters and document without tasks that are not served, and the tasks that the message names."""
    task_ids.check_names(message)
    served = task_support.served(revision, declared)
    if served:
        task_support.check_declared(message, revision)
    params, document = task_support.plain(message, revision, served=served)
    return params, document, task_ids.asked(message) if served else ()


def _check_params(message: Message, revision: Revision, *, enveloped: bool = False) -> None:
    """Refuse what `_check_all_params` refuses; calls of tools with names that were accepted before are not checked."""
    params = message.params
    meta = params.get("_meta")
    if message.method != "tools/call" or message.may_poison or type(meta) is not dict:
        _check_all_params(message, revision, enveloped=enveloped)
        return
    capabilities = meta.get(CAPABILITIES_KEY)
    declared = tuple(capabilities) if type(capabilities) is dict else None
    if len(params) > _FEW or len(meta) > _FEW or (declared is not None and len(declared) > _FEW):
        _check_all_params(message, revision, enveloped=enveloped)
        return
    version: type = type(meta.get(VERSION_KEY))
    types = tuple(map(type, params.values()))
    _check_tool_call(revision, enveloped, tuple(params), types, tuple(meta), version, declared)


@lru_cache(512)  # a refusal is raised, and so not kept
def _check_tool_call(
    revision: Revision,
    enveloped: bool,
    names: tuple[str, ...],
    types: tuple[type, ...],
    in_meta: tuple[str, ...],
    version: type,
    capabilities: tuple[str, ...] | None,
) -> None:
    """Check the parameters of a tool's call by their names and types, on which alone the checks depend."""
    meta: dict[str, Any] = dict.fromkeys(in_meta)
    if VERSION_KEY in meta:
        meta[VERSION_KEY] = version()
    if CAPABILITIES_KEY in meta and capabilities is not None:
        meta[CAPABILITIES_KEY] = dict.fromkeys(capabilities)
    params = {name: kind() for name, kind in zip(names, types, strict=True)} | {"_meta": meta}
    _check_all_params(
        Message(_REQUEST, method="tools/call", params=params, may_poison=False), revision, enveloped=enveloped
    )


def _check_all_params(message: Message, revision: Revision, *, enveloped: bool) -> None:
    """Refuse parameters that the sidecar reads and a backend might read differently.

    A method that the revision does not have is reported as unknown, even if its parameters are also wrong.

    Args:
        enveloped: True to refuse a message without the fields that every request of 2026-07-28 has.
    """
    params, known = message.params, revision in METHODS.get(message.method, _ALL)
    read = _READ.get(message.method, _READ_ANYWHERE) if known else _READ_ANYWHERE
    check_members(params, read)
    if message.may_poison:
        _check_poison(message)
    for name, value in params.items():
        if name in read.names and name in _TYPES and type(value) is not _TYPES[name]:
            raise malformed(f"params.{name} has the wrong type.")
    if "requestId" in read.names and "requestId" in params and not is_request_id(params["requestId"]):
        raise malformed("params.requestId has the wrong type.")
    if read.required is not None and read.required not in params:
        raise malformed(f"params.{read.required} is missing.")
    if known:
        references(message.method, params)
    meta = params.get("_meta", {})
    check_members(meta, READ_META)
    capabilities = params.get("capabilities") if message.method == "initialize" else meta.get(CAPABILITIES_KEY)
    if type(capabilities) is dict:
        check_members(capabilities, READ_CAPABILITIES)
    if enveloped:
        _check_envelope(meta)


def _check_poison(message: Message) -> None:
    # The policy judges a tool's arguments: their schema may declare such a name.
    judged = "arguments" if message.method == "tools/call" else None
    if poisoned({name: value for name, value in message.document.get("params", {}).items() if name != judged}):
        raise malformed("A member of params has a name that some backends do not treat as data.")


def _check_envelope(meta: Mapping[str, Any]) -> None:
    """Refuse a request of 2026-07-28 without its required fields (basic/index, per-request fields)."""
    if type(meta.get(VERSION_KEY)) is not str:
        raise malformed(f"params._meta must hold the string {VERSION_KEY}.")
    if type(meta.get(CAPABILITIES_KEY)) is not dict:
        raise malformed(f"params._meta must hold the object {CAPABILITIES_KEY}.")
