"""Commands in one line each, in this process, and the config they run on."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = """\
resource: https://mcp.example.com/mcp
backend: {url: "http://127.0.0.1:8000/mcp"}
issuers: [{issuer: "https://example.com/api/auth"}]
store: {url: "STORE"}
"""
TWO_ISSUERS = 'issuers: [{issuer: "https://a", id: a}, {issuer: "https://b", id: b}]'
POLICY = """\
scopes: {read: Read., reveal: {description: Reveal., implies: [read]}}
quotas: {requests: {minute: 60, day: 5000}, rows: {month: 100}}
credits: {contact: One contact., email: One mail.}
default_plan: free
plans:
  free: {tools: [search]}
  growth: {credits: {contact: {month: 3}}}
defaults: {uses: {requests: 1}}
tools:
  search:
    scopes: [read]
    arguments:
      properties: {limit: {type: integer, maximum: 10, default: 5}}
      additionalProperties: false
    uses: {requests: 1, rows: arguments.limit}
  reveal:
    scopes: [reveal]
    arguments:
      properties: {ids: {type: array, items: {type: string}}, ok: {type: boolean}}
      required: [ids]
      additionalProperties: false
    confirm: {argument: ok}
    spends: {contact: {items: arguments.ids, once: true}, email: 0}
tests:
  - name: searching is allowed
    caller: {scopes: [read]}
    call: {tool: search}
    expect: allow
  - name: revealing needs its scope
    caller: {scopes: [read], plan: growth}
    call: {tool: reveal}
    expect: insufficient_scope
"""


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


def write(folder: Path, *, store: str = "embedded", config: str = CONFIG, policy: str = POLICY) -> Path:
    """A config and its policy; gives the config's path."""
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "p.yaml").write_text(policy)
    # Any free ports, so that no other process of this machine causes a warning.
    free = "".join(f"{key}: 127.0.0.1:0\n" for key in ("listen", "admin") if f"{key}:" not in config)
    (folder / "config.yaml").write_text(config.replace("STORE", store).rstrip("\n") + "\n" + free)
    return folder / "config.yaml"
