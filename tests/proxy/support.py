"""The policy that most tests of the proxy run under, and arguments for its tools."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.rig import Json, Rig

Launch = Callable[..., Awaitable[Rig]]

ALLOWED = frozenset(
    {
        *("host", "accept-encoding", "content-length", "accept", "content-type", "traceparent", "x-request-id"),
        *("x-mcp-issuer", "x-mcp-account", "x-mcp-client", "x-mcp-scopes"),
        *("mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id"),
    }
)
"""Headers that the backend may get, besides `Mcp-Param-*`."""

# Windows of a day and more, so that no test meets the end of a minute. One tool per way to pay:
# list_taxonomy costs a request, search_shopify_stores rows as returned, search_shopify_contacts a
# credit per row, enrich_shopify_domains a credit per domain (charged for errors, too), and
# reveal_contacts one per contact, once. get_shopify_store has an injected confirmation.
POLICY: Json = {
    "scopes": {
        "usage:read": "Read usage.",
        "stores:read": "Read stores.",
        "contacts:search": "Search contacts.",
        "contacts:reveal": {"description": "Reveal contacts.", "implies": ["contacts:search"]},
    },
    "base_scopes": ["usage:read", "stores:read"],
    "manage_url": "https://example.com/manage",
    "quotas": {"requests": {"day": 1000}, "search_rows": {"month": 100}},
    "credits": {"contact": "One contact."},
    "plans": {
        "free": {"tools": ["get_usage", "list_taxonomy"]},
        "growth": {},
        "plus": {"credits": {"contact": {"month": 2}}},
    },
    "defaults": {"uses": {"requests": 1}},
    "tools": {
        "get_usage": {"scopes": ["usage:read"], "serve": "usage"},
        "list_taxonomy": {"scopes": ["stores:read"]},
        "get_shopify_store": {"scopes": ["stores:read"], "confirm": {"argument": "sure", "inject": True}},
        "search_shopify_stores": {
            "scopes": ["stores:read"],
            "arguments": {"properties": {"limit": {"type": "integer", "minimum": 1, "maximum": 200, "default": 25}}},
            "uses": {"requests": 1, "search_rows": {"reserve": "arguments.limit", "settle": "length(data.rows)"}},
            "rows": "length(data.rows)",
        },
        "search_shopify_contacts": {
            "scopes": ["contacts:search"],
            "arguments": {"properties": {"limit": {"type": "integer", "minimum": 1, "default": 3}}},
            "spends": {"contact": {"reserve": "arguments.limit", "settle": "length(data.rows)"}},
        },
        "enrich_shopify_domains": {
            "scopes": ["stores:read"],
            "arguments": {"properties": {"domains": {"type": "array", "items": {"type": "string"}}}},
            "spends": {"contact": {"items": "arguments.domains", "settle": "data.rows[].domain"}},
            "charge_errors": True,
        },
        "reveal_contacts": {
            "scopes": ["contacts:reveal"],
            "arguments": {
                "properties": {
                    "contact_ids": {"type": "array", "items": {"type": "string"}, "maxItems": 20},
                    "confirm_spend_credits": {"type": "boolean"},
                },
                "required": ["contact_ids"],
                "additionalProperties": False,
            },
            "confirm": {"argument": "confirm_spend_credits"},
            "spends": {"contact": {"items": "arguments.contact_ids", "settle": "data.contacts[].id", "once": True}},
            "rows": "length(data.contacts)",
        },
    },
}


def policy(**changes: Any) -> Json:
    """The policy with sections replaced; None removes one, a mapping under `tools` changes tools one by one."""
    made = copy.deepcopy(POLICY)
    for name, tool in changes.pop("tools", {}).items():
        made["tools"][name] = {**made["tools"].get(name, {}), **tool}
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def contacts(*ids: str, confirmed: bool = True) -> Json:
    """Arguments of `reveal_contacts`."""
    return {"contact_ids": list(ids), **({"confirm_spend_credits": True} if confirmed else {})}
