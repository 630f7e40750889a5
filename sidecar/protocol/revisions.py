"""What differs between the MCP revisions: which one a request speaks, and what that asks of it.

2026-07-28 says everything in each request (`_meta` and headers); the older revisions agree on a
version at `initialize` and repeat it in a header. A message becomes a `Call` here.

Tasks are served in no revision: a task outlives the call that was paid for and can be asked for by
id, so the capability is taken out of both directions and peers never create one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind, Revision
from sidecar.protocol.headers import McpHeaders, check_mirrors, check_session
from sidecar.protocol.jsonrpc import Message, is_request_id
from sidecar.protocol.strictjson import fold

SUPPORTED: Final = tuple(revision.value for revision in reversed(Revision))
"""All revisions served, newest first, as `-32022` errors list them."""

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"

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
    "arguments": dict,
    "capabilities": dict,
    "cursor": str,
    "inputResponses": dict,
    "name": str,
    "protocolVersion": str,
    "requestState": str,
    "task": dict,
    "taskId": str,
    "uri": str,
}


@dataclass(frozen=True, slots=True)
class _Names:
    """The names that are read of one object, as they are and as `fold` sees them."""

    names: frozenset[str]
    folded: frozenset[str]
    required: str | None

    @classmethod
    def of(cls, *names: str, required: str | None = None) -> _Names:
        read = frozenset(names if required is None else (*names, required))
        return cls(read, frozenset(map(fold, read)), required)


_LIST: Final = _Names.of("_meta", "cursor")
_URI: Final = _Names.of("_meta", required="uri")
_TASK: Final = _Names.of("_meta", required="taskId")
_RETRY: Final = ("_meta", "inputResponses", "requestState")
_READ: Final[Mapping[str, _Names]] = {
    "tools/call": _Names.of(*_RETRY, "arguments", "task", required="name"),
    "prompts/get": _Names.of(*_RETRY, "arguments", required="name"),
    "resources/read": _Names.of(*_RETRY, required="uri"),
    "resources/subscribe": _URI,
    "resources/unsubscribe": _URI,
    "tools/list": _LIST,
    "prompts/list": _LIST,
    "resources/list": _LIST,
    "resources/templates/list": _LIST,
    "initialize": _Names.of("_meta", "capabilities", required="protocolVersion"),
    "tasks/get": _TASK,
    "tasks/result": _TASK,
    "tasks/update": _Names.of("_meta", "inputResponses", required="taskId"),
    "tasks/cancel": _TASK,
    "notifications/cancelled": _Names.of("_meta", "reason", required="requestId"),
}
_READ_ANYWHERE: Final = _Names.of("_meta")
_READ_META: Final = _Names.of(VERSION_KEY, CAPABILITIES_KEY)
_READ_CAPABILITIES: Final = _Names.of("tasks", "extensions")
# Keys that unsafe merges in JavaScript backends turn into something else than data.
_POISONED: Final = frozenset({"__proto__", "constructor"})


# --- in ------------------------------------------------------------------------------------------


def call_of(message: Message, headers: McpHeaders) -> Call:
    """The call that a POSTed message makes, under the revision it speaks.

    Raises:
        Refusal: `version_unsupported`, `header_mismatch`, `params_malformed`, `message_malformed`,
            `session_unknown`.
    """
    revision = revision_of(message, headers)
    if revision.stateless and message.kind is CallKind.RESPONSE:
        raise Refusal(ErrorCode.MESSAGE_MALFORMED, "Clients send no responses in this protocol version.")
    _check_params(message)
    request = message.kind is CallKind.REQUEST
    if request and revision.stateless:
        _check_envelope(message.params)
    if message.kind is not CallKind.RESPONSE:
        check_mirrors(headers, message, required=request and revision.stateless)
    params, document = _without_tasks(message)
    return Call(
        kind=message.kind,
        revision=revision,
        method=message.method,
        id=message.id,
        params=params,
        document=document,
        session=None if revision.stateless else check_session(headers.session),
        carried=headers.params if revision.stateless else (),
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
        return _named(claimed)  # 2026-07-28 leaves open which headers a notification has
    if claimed is not None and claimed != headers.version:
        raise Refusal(
            ErrorCode.HEADER_MISMATCH, "The header MCP-Protocol-Version is missing or does not agree with the body."
        )
    if headers.version is not None:
        return _named(headers.version)
    if message.method == "initialize":
        return _offered(message.params.get("protocolVersion"))
    return Revision.V2025_03_26  # 2025-06-18, basic/transports: what a missing header stands for


def claimed_version(params: Mapping[str, Any]) -> object:
    """What a message says its version is; None when it does not say, as in all older revisions."""
    meta = params.get("_meta")
    return meta.get(VERSION_KEY) if isinstance(meta, dict) else None


def _named(version: str) -> Revision:
    try:
        return Revision(version)
    except ValueError:
        data = {"supported": list(SUPPORTED), "requested": version[:64]}
        raise Refusal(ErrorCode.VERSION_UNSUPPORTED, data=data) from None


def _offered(version: object) -> Revision:
    """What a client offers at `initialize`; the backend may still answer with another."""
    known = next((revision for revision in _SESSIONS if revision.value == version), None)
    return known or Revision.V2025_11_25


def _check_params(message: Message) -> None:
    """Refuse parameters that the sidecar reads and a backend might read differently."""
    params, read = message.params, _READ.get(message.method, _READ_ANYWHERE)
    _check_names(params, read)
    for name, value in params.items():
        right = is_request_id(value) if name == "requestId" else isinstance(value, _TYPES.get(name, object))
        if name in read.names and not right:
            raise _malformed(f"params.{name} has the wrong type.")
    if read.required is not None and read.required not in params:
        raise _malformed(f"params.{read.required} is missing.")
    meta = params.get("_meta", {})
    _check_names(meta, _READ_META)
    capabilities = params.get("capabilities") if message.method == "initialize" else meta.get(CAPABILITIES_KEY)
    if isinstance(capabilities, dict):
        _check_names(capabilities, _READ_CAPABILITIES)


def _check_envelope(params: Mapping[str, Any]) -> None:
    """What every request of 2026-07-28 says of itself (basic/index, per-request fields)."""
    meta = params.get("_meta", {})
    if not isinstance(meta.get(VERSION_KEY), str):
        raise _malformed(f"params._meta must hold the string {VERSION_KEY}.")
    if not isinstance(meta.get(CAPABILITIES_KEY), dict):
        raise _malformed(f"params._meta must hold the object {CAPABILITIES_KEY}.")


def _check_names(members: Mapping[str, Any], read: _Names) -> None:
    """Refuse names that a lenient parser takes for one that is read here."""
    for name in members:
        if name not in read.names and (name in _POISONED or fold(name) in read.folded):
            raise _malformed("A parameter's name could be taken for another one.")


def _malformed(detail: str) -> Refusal:
    return Refusal(ErrorCode.PARAMS_MALFORMED, detail)


# --- tasks ---------------------------------------------------------------------------------------


def strip_task_capability(result: dict[str, Any]) -> dict[str, Any]:
    """An `initialize` or `server/discover` result that promises no tasks; the result itself is not changed."""
    plain = _without_capability(result, "capabilities")
    return result if plain is result else dict(plain)


def _without_tasks(message: Message) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Parameters and document of a message that neither asks for a task nor offers to take one.

    A server that promised no tasks has to treat such a request as a plain one (2025-11-25, tasks),
    so taking the wish out changes nothing for its sender.
    """
    params = _plain_request(message.method, message.params)
    if params is message.params:
        return params, message.document
    return params, {**message.document, "params": _plain_request(message.method, message.document["params"])}


def _plain_request(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    if method == "tools/call" and "task" in params:
        params = {name: value for name, value in params.items() if name != "task"}
    if method == "initialize":
        return _without_capability(params, "capabilities")
    meta = params.get("_meta")
    if isinstance(meta, dict):
        plain = _without_capability(meta, CAPABILITIES_KEY)
        return params if plain is meta else {**params, "_meta": plain}
    return params


def _without_capability(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """`holder` with the capabilities under `key` freed of tasks; `holder` itself when they are."""
    capabilities = holder.get(key)
    if not isinstance(capabilities, dict):
        return holder
    extensions = capabilities.get("extensions")
    extended = isinstance(extensions, dict) and TASKS_EXTENSION in extensions
    if "tasks" not in capabilities and not extended:
        return holder
    kept = {name: value for name, value in capabilities.items() if name != "tasks"}
    if extended:
        kept["extensions"] = {name: value for name, value in kept["extensions"].items() if name != TASKS_EXTENSION}
    return {**holder, key: kept}
