"""Config and policy of the demo: the shipped policy, with limits that a short story reaches."""

from __future__ import annotations

from typing import Final

SCOPES: Final = ("usage:read", "stores:read", "contacts:search", "contacts:reveal")
"""Scopes of the policy."""
PAGE_CLIENT: Final = "account-page"
"""Client id of the account page at the issuer."""
CONFIG: Final = """\
resource: {resource}
listen: {listen}
admin: 127.0.0.1:0 # any free port
backend:
  url: {backend}
  connect_timeout: 1s
  timeout: 10s
issuers:
  - issuer: {issuer}
store:
  url: embedded # a private Valkey on a unix socket in this directory
  directory: store
policies: [policy.yaml]
account_page: {{ client_id: account-page }} # where ada confirms and revokes
limits: {{ body: 64KiB, response: 256KiB }}
shutdown_grace: 3s
"""
"""Template with `resource`, `listen`, `backend` and `issuer`."""

POLICY: Final = """\
scopes:
  usage:read: Read usage and quota state.
  stores:read: Read store intelligence and taxonomy.
  contacts:search: Search contact previews.
  contacts:reveal: { description: Reveal contact channels after confirmation., implies: [contacts:search] }
base_scopes: [usage:read, stores:read] # not all: this issuer lets clients request more scopes later

consent: required # every client needs an approval in the store
manage_url: https://example.com/dashboard/settings/mcp
listing: { missing_scope: show, missing_plan: hide }

quotas:
  requests: { minute: 600, day: 5000 }
  search_rows: { month: 25000 }
credits:
  contact: One per contact revealed for the first time.
plans: # no default_plan: an account without a plan is refused
  free:
    tools: [get_usage, list_taxonomy, get_shopify_store]
    quotas: { search_rows: { month: 0 } }
  team:
    quotas: { search_rows: { month: 40 } }

defaults: { uses: { requests: 1 } }
tools:
  get_usage: { scopes: [usage:read], serve: usage } # answered by the sidecar itself
  list_taxonomy: { scopes: [stores:read] }
  get_shopify_store:
    scopes: [stores:read]
    arguments:
      properties: { domain: { type: string, minLength: 3, maxLength: 253 } }
      required: [domain]
      additionalProperties: false
    timeout: 2s
  search_shopify_stores:
    scopes: [stores:read]
    arguments:
      properties:
        query: { type: string, maxLength: 500 }
        category: { type: string }
        country: { type: string }
        limit: { type: integer, minimum: 1, maximum: 100, default: 25 }
      additionalProperties: false
    uses: { requests: 1, search_rows: { reserve: arguments.limit, settle: length(data.rows) } }
    rows: length(data.rows)
  enrich_shopify_domains:
    scopes: [stores:read]
    pin: sha256-0000000000000000000000000000000000000000000000000000000000000000 # not the backend's
    arguments:
      properties: { domains: { type: array, items: { type: string }, minItems: 1, maxItems: 100 } }
      required: [domains]
      additionalProperties: false
    uses: { requests: 1, search_rows: { reserve: length(arguments.domains), settle: length(data.rows) } }
    rows: length(data.rows)
  search_shopify_contacts:
    scopes: [contacts:search]
    arguments:
      properties:
        query: { type: string, maxLength: 500 }
        domain: { type: string, maxLength: 253 }
        limit: { type: integer, minimum: 1, maximum: 100, default: 25 }
      additionalProperties: false
    uses: { requests: 1, search_rows: { reserve: arguments.limit, settle: length(data.rows) } }
    rows: length(data.rows)
  reveal_contacts:
    scopes: [contacts:reveal]
    arguments:
      properties:
        contact_ids: { type: array, items: { type: string, maxLength: 100 }, minItems: 1, maxItems: 100 }
        confirm_spend_credits: { type: boolean }
        idempotency_key: { type: string, maxLength: 100 }
      required: [contact_ids]
      additionalProperties: false
    confirm: { by: page, or: argument, argument: confirm_spend_credits } # ada confirms, or the argument is JSON true
    spends: { contact: { items: arguments.contact_ids, settle: "data.contacts[].id", once: true } }
    rows: length(data.contacts)
    timeout: 5s
methods:
  tasks/get: { scopes: [] } # serves tasks, each to the caller that started it

tests:
  - name: revealing needs the flag
    caller: { scopes: [contacts:reveal], plan: team, credits: { contact: 5 } }
    call: { tool: reveal_contacts, arguments: { contact_ids: [a, b] } }
    expect: confirmation_required
  - name: two first-time contacts reserve two credits
    caller: { scopes: [contacts:reveal], plan: team, credits: { contact: 5 } }
    call:
      tool: reveal_contacts
      arguments: { contact_ids: [a, b], confirm_spend_credits: true }
      confirmation: unavailable # to a client that cannot ask ada
    expect: { allow: { credits: { contact: 2 } } }
  - name: the free plan has no search
    caller: { scopes: [stores:read], plan: free }
    call: { tool: search_shopify_stores, arguments: { limit: 10 } }
    expect: plan_required
"""
