"""Calls of tools as most clients send them in 2026-07-28: a look at their names stands for all checks of `revisions`.

It only accepts. Whatever it does not accept, the complete checks judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sidecar.model import Revision
from sidecar.protocol.headers import McpHeaders
from sidecar.protocol.jsonrpc import Message
from sidecar.protocol.meta import CAPABILITIES_KEY, CLIENT_KEY, VERSION_KEY
from sidecar.protocol.strict.members import Members

# With `_meta` for messages that are not about tasks: in the others, `task_ids` refuses what is confusable with it.
READ_META: Final = Members.of(
    *("_meta", VERSION_KEY, CAPABILITIES_KEY), common=(CLIENT_KEY, "progressToken", "traceparent", "tracestate")
)
"""Members of `_meta` that are read in requests."""
READ_CAPABILITIES: Final = Members.of(
    *("elicitation", "tasks", "extensions"), common=("experimental", "roots", "sampling")
)
"""Members of a client's capabilities that are read."""

_STATELESS: Final[Mapping[str | None, Revision]] = {each.value: each for each in Revision if each.stateless}


def revision_of_usual(message: Message, headers: McpHeaders) -> Revision | None:
    """Return the revision of a tool's call that passes all checks by its names alone; None for any other.

    Its names are those that are read, or that need no check, and its headers repeat the body.
    """
    params, version = message.params, headers.version
    if message.method != "tools/call" or headers.method != "tools/call" or message.may_poison or len(params) != 3:
        return None
    try:
        meta, name, arguments = params["_meta"], params["name"], params["arguments"]
    except KeyError:
        return None
    if type(meta) is not dict or type(arguments) is not dict or type(name) is not str:
        return None
    if name != headers.name or version not in _STATELESS or CAPABILITIES_KEY not in meta:
        return None
    if not meta.keys() <= READ_META.accepted or meta.get(VERSION_KEY) != version:
        return None
    capabilities = meta[CAPABILITIES_KEY]
    if type(capabilities) is not dict or (capabilities and not capabilities.keys() <= READ_CAPABILITIES.accepted):
        return None
    return _STATELESS[version]
