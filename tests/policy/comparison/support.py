"""Small policies that differ in what a test names."""

from __future__ import annotations

import json
from typing import Any

from sidecar.config.documents.merging import parse
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.rules import Policy

_BASE: dict[str, Any] = {
    "scopes": {"read": "Read.", "admin": "Administer."},
    "quotas": {"requests": {"day": 1}},
    "credits": {"contact": "One contact."},
    "tools": {"read": {"scopes": ["read"], "arguments": {"properties": {"ids": {"type": "array"}}}}},
}


def compiled(**sections: Any) -> Policy:
    """The base policy with entries of sections added or replaced."""
    made = {**_BASE}
    for name, section in sections.items():
        merged = {**made.get(name, {}), **section} if isinstance(section, dict) else section
        if name == "tools":
            merged = {tool: {**_BASE["tools"]["read"], **entry} for tool, entry in merged.items()}
        made[name] = merged
    return compile_policy([parse("policy.yaml", json.dumps(made))])
