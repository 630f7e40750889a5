"""Notifications that a list has changed for the caller of an open stream, because of a reload or of its plan.

A stream remembers what its caller could see when it opened. Each check of open streams compares that with the policy
and the plan of the moment, so that one rule covers both causes, and each sidecar notifies its own streams.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from typing import Any, Final

import orjson

from sidecar.model import Call, Caller, CallKind
from sidecar.policy.rules import Kind, Policy
from sidecar.protocol.capabilities import SECTIONS
from sidecar.protocol.meta import SUBSCRIPTION_KEY
from sidecar.protocol.sse import sse

ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"

_FILTERS: Final = {section: f"{section}ListChanged" for section in SECTIONS}
"""Key of a subscription's filter for each list (2026-07-28, subscriptions)."""
# Parts of a tool's declaration that change its listed definition.
_DESCRIBED: Final = ("arguments", "confirm", "serve", "pin")
_REMEMBERED: Final = 1024

Visible = Mapping[str, Hashable]
"""For each section a value that differs when the lists of that section may differ."""


class VisibleLists:
    """Lists of one policy, as accounts on its plans may see them.

    Args:
        policy: the policy.

    Attributes:
        policy: as given.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._known: dict[tuple[str | None, frozenset[str]], Visible] = {}

    def seen_by(self, plan: str | None, scopes: frozenset[str]) -> Visible:
        """Return what a caller may see of each list.

        Args:
            plan: the account's plan.
            scopes: the scopes that count for the caller, expanded.
        """
        hides = self.policy.listing.hide_missing_scope
        key = plan, scopes.intersection(self.policy.scope_names) if hides else frozenset()
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[key] = self._visible(*key)
        return found

    def _visible(self, plan: str | None, scopes: frozenset[str]) -> Visible:
        policy = self.policy
        tools, listing = policy.declared.get("tools") or {}, policy.declared.get("listing")
        shown = [name for name in policy.tools if policy.listed(name, scopes, plan)]
        described = [(name, {key: (tools.get(name) or {}).get(key) for key in _DESCRIBED}) for name in shown]
        return {
            "tools": json.dumps([described, listing, policy.serve_changed], sort_keys=True),
            # A pattern that the plan leaves out hides what a wider one would show.
            "resources": tuple((name, policy.included(Kind.RESOURCE, name, plan)) for name in policy.resources),
            "prompts": tuple(name for name in policy.prompts if policy.included(Kind.PROMPT, name, plan)),
        }


class ListChanges:
    """Lists of one stream's caller, and the changes that it has not been notified of.

    Args:
        call: GET, or subscriptions/listen.
        caller: the caller that listens.
        lists: those of the policy that the stream began with.
        plan: the account's plan.
        consented: scopes of the consent record; None when it lists none.
        replays: True for a stream that only replays the answer to one call.

    Attributes:
        sections: those whose changes the client wants.
    """

    __slots__ = ("_call", "_caller", "_consented", "_pending", "_ready", "_seen", "sections")

    def __init__(
        self,
        call: Call,
        caller: Caller,
        lists: VisibleLists,
        plan: str | None,
        consented: Iterable[str] | None,
        *,
        replays: bool = False,
    ) -> None:
        self._call = call
        self._caller = caller
        self._consented = None if consented is None else tuple(consented)
        self._seen = self._visible(lists, plan)
        self._pending: tuple[str, ...] = ()
        self._ready = call.kind is CallKind.STREAM
        served = () if replays else [name for name in SECTIONS if name in lists.policy.served.sections]
        self.sections = _set_of(*(name for name in served if self._ready or _asked(call, name)))

    @property
    def session(self) -> Hashable:
        """The session that gets each message on one stream only (2025-11-25, transports); None without one."""
        if self._call.kind is not CallKind.STREAM or self._call.session is None:
            return None
        return self._caller.subject, self._caller.client_id, self._call.session

    def update(self, lists: VisibleLists, plan: str | None) -> bool:
        """Compare what the caller may see now with what it saw; return True when it has to be notified."""
        now = self._visible(lists, plan)
        if now is self._seen:
            return bool(self._pending)
        changed = [name for name in SECTIONS if name in self.sections and now[name] != self._seen[name]]
        self._pending = tuple(dict.fromkeys((*self._pending, *changed)))
        self._seen = now
        return bool(self._pending)

    def withdraw(self) -> None:
        """Drop the changes: another stream of the session carries them."""
        self._pending = ()

    def take(self) -> bytes:
        """Return the notifications that are due, as events; empty before the subscription is acknowledged."""
        if not (self._pending and self._ready):
            return b""
        names, self._pending = self._pending, ()
        return b"".join(sse.encode(orjson.dumps(self._notification(name))) for name in names)

    def acknowledged(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a message of the backend, with these lists added if it acknowledges the subscription."""
        if self._ready or message.get("method") != ACKNOWLEDGED:
            return message
        self._ready = True
        params = message.get("params")
        honored = params.get("notifications") if isinstance(params, dict) else None
        if not isinstance(params, dict) or not isinstance(honored, dict):
            return message
        added = {_FILTERS[name]: True for name in SECTIONS if name in self.sections}
        if added.items() <= honored.items():
            return message
        return {**message, "params": {**params, "notifications": {**honored, **added}}}

    def _visible(self, lists: VisibleLists, plan: str | None) -> Visible:
        return lists.seen_by(plan, lists.policy.effective(self._caller.scopes, self._consented))

    def _notification(self, section: str) -> dict[str, Any]:
        made: dict[str, Any] = {"jsonrpc": "2.0", "method": f"notifications/{section}/list_changed"}
        if self._call.kind is not CallKind.STREAM:
            made["params"] = {"_meta": {SUBSCRIPTION_KEY: self._call.id}}
        return made


@cache
def _set_of(*sections: str) -> frozenset[str]:
    """Return a set that all streams with these sections share."""
    return frozenset(sections)


def _asked(call: Call, section: str) -> bool:
    wanted = call.params.get("notifications")
    return isinstance(wanted, dict) and wanted.get(_FILTERS[section]) is True
