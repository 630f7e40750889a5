"""Prompts and resources that a request refers to, in addition to its method.

Most methods refer to at most one, in one place. A completion refers to a prompt or a resource in its `ref`
(server/utilities/completion), and a subscription of 2026-07-28 to any number of resources in its filter
(basic/patterns/subscriptions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.protocol.strict.members import Members, check_members, malformed

MAX_SUBSCRIPTIONS: Final = 500
"""The most resources in one `subscriptions/listen`: each is matched against every pattern."""

MAX_SUBSCRIBED: Final = 65_536
"""The most characters of all of them: matching them delays other callers."""

_REF: Final = Members.of("type", "name", "uri", "title")
_PROMPT_REF: Final = "ref/prompt"
_RESOURCE_REF: Final = "ref/resource"
_FILTER: Final = Members.of(
    *("toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions"),
    "taskIds",  # see `task_ids`
)


@dataclass(frozen=True, slots=True)
class References:
    """Prompts and resources that one request refers to.

    Attributes:
        prompts: names of prompts.
        uris: URIs of resources.
        templates: URIs or URI templates (RFC 6570), as completions name resources.
    """

    prompts: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


NOTHING: Final = References()


def references(method: str, params: Mapping[str, Any]) -> References:
    """Read the prompts and resources that a request refers to.

    Raises:
        Refusal: `params_malformed` when one is missing or ambiguous.
    """
    return _READERS[method](params) if method in _READERS else NOTHING


def _uri(params: Mapping[str, Any]) -> References:
    return References(uris=(_text(params, "uri", "params"),))


def _prompt(params: Mapping[str, Any]) -> References:
    return References(prompts=(_text(params, "name", "params"),))


def _completion(params: Mapping[str, Any]) -> References:
    ref = params.get("ref")
    if not isinstance(ref, dict):
        raise malformed("params.ref must be an object.")
    check_members(ref, _REF)
    # Servers distinguish the two by the type, or by the member that is present.
    if ref.get("type") == _PROMPT_REF and "uri" not in ref:
        return References(prompts=(_text(ref, "name", "params.ref"),))
    if ref.get("type") == _RESOURCE_REF and "name" not in ref:
        return References(templates=(_text(ref, "uri", "params.ref"),))
    raise malformed(f"params.ref must be {{type: {_PROMPT_REF}, name}} or {{type: {_RESOURCE_REF}, uri}}.")


def _subscription(params: Mapping[str, Any]) -> References:
    wanted = params.get("notifications")
    if not isinstance(wanted, dict):
        raise malformed("params.notifications must be an object.")
    # No rule of the policy covers other filters.
    if not wanted.keys() <= _FILTER.names:
        raise malformed("params.notifications has a member that is not supported here.")
    uris = wanted.get("resourceSubscriptions", [])
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise malformed("params.notifications.resourceSubscriptions must be a list of URIs.")
    if len(uris) > MAX_SUBSCRIPTIONS:
        raise malformed(f"params.notifications.resourceSubscriptions must hold at most {MAX_SUBSCRIPTIONS} URIs.")
    if sum(map(len, uris)) > MAX_SUBSCRIBED:
        raise malformed(f"The URIs of params.notifications must have at most {MAX_SUBSCRIBED} characters in total.")
    return References(uris=tuple(uris))


def _text(holder: Mapping[str, Any], name: str, where: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str):
        raise malformed(f"{where}.{name} must be a string.")
    return value


_READERS: Final = {
    "resources/read": _uri,
    "resources/subscribe": _uri,
    "resources/unsubscribe": _uri,
    "prompts/get": _prompt,
    "completion/complete": _completion,
    "subscriptions/listen": _subscription,
}
