"""JSON Schemas of the API's documents: requests are checked by them, and the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any, Final

from sidecar.admin_api.api_inputs import Parameter, Schema
from sidecar.identity.parties.party_names import MAX_ACCOUNT, MAX_CLIENT_ID
from sidecar.model import MAX_AMOUNT
from sidecar.window_rules import WINDOWS

MAX_PAGE: Final = 500
"""Entries of one page."""
MAX_KEY: Final = 128
"""Characters of an idempotency key."""

_MAX_SCOPES: Final = 200
_MAX_QUOTAS: Final = 200
_SHORT: Final = 255


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _text(most: int = _SHORT, **more: Any) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": most, **more}


TEXT: Final[Schema] = {"type": "string"}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
WHOLE: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": MAX_AMOUNT}
FLAG: Final[Schema] = {"type": "boolean"}
ACCOUNT: Final = _text(MAX_ACCOUNT, format="name")
CLIENT: Final = _text(MAX_CLIENT_ID, format="name")
# RFC 6749 section 3.3: the characters of one scope.
_SCOPE = _text(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")
SCOPES: Final[Schema] = {"type": "array", "items": _SCOPE, "maxItems": _MAX_SCOPES, "uniqueItems": True}

# --- bodies ------------------------------------------------------------------------------------

_WINDOWS = "|".join(WINDOWS)
ACCOUNT_CHANGE: Final[Schema] = {
    **_object(
        (),
        plan=_text(),
        status={"enum": ["active", "disabled"]},
        quotas={
            "type": "object",
            "description": "Own limits by NAME.WINDOW: units, `unlimited`, or `plan` for the plan's limit.",
            "additionalProperties": {"anyOf": [WHOLE, {"enum": ["unlimited", "plan"]}]},
            "propertyNames": {"pattern": rf"^.{{1,200}}\.({_WINDOWS})$"},
            "maxProperties": _MAX_QUOTAS,
        },
    ),
    "minProperties": 1,
}
CONSENT_CHANGE: Final = {
    **_object(
        ("account", "client_id", "status"),
        account=ACCOUNT,
        client_id=CLIENT,
        subject={**ACCOUNT, "description": "The user; absent: every subject of that account and client."},
        status={
            "enum": ["granted", "revoked", "none"],
            "description": "`none` removes the record: the client is asked again, or let in again under `first_use`.",
        },
        scopes={
            **SCOPES,
            "description": "With `granted`: only these scopes; absent: all of the token's.",
        },
        client_name=_text(200, description="With `granted`: name of the client, for lists."),
    ),
    "dependentSchemas": {
        "scopes": {"properties": {"status": {"const": "granted"}}},
        "client_name": {"properties": {"status": {"const": "granted"}}},
    },
}
CREDIT_CHANGE: Final = _object(
    ("pool", "change", "amount"), pool=_text(), change={"enum": ["grant", "spend", "set"]}, amount=WHOLE
)

# --- answers -----------------------------------------------------------------------------------

_PARTIES: Final[dict[str, Schema]] = {"issuer": TEXT, "account": TEXT}
_LIMITS: Final[Schema] = {"type": "object", "additionalProperties": {"anyOf": [WHOLE, {"const": "unlimited"}]}}
_ANY: Final[Schema] = {"type": "object", "additionalProperties": True}

SCHEMAS: Final[dict[str, Schema]] = {
    "AccountChange": ACCOUNT_CHANGE,
    "ConsentChange": CONSENT_CHANGE,
    "CreditChange": CREDIT_CHANGE,
    "Account": _object(
        ("issuer", "account", "plan", "status", "quotas"),
        issuer=_or_null(TEXT),
        account=_or_null(TEXT),
        plan=_or_null(TEXT),
        status={"enum": ["active", "disabled", "deleted", "damaged"]},
        quotas={**_LIMITS, "description": "The account's own limits, by NAME.WINDOW."},
        digest={**TEXT, "description": "Digest in the keys of the store; in lists."},
        balances={"type": "object", "additionalProperties": WHOLE},
        all_clients_revoked=FLAG,
    ),
    "Accounts": _object(("accounts", "next"), accounts=_list(_ref("Account")), next=_or_null(TEXT)),
    "Consent": _object(
        ("issuer", "account", "subject", "client_id", "status", "at", "scopes"),
        **_PARTIES,
        subject={**_or_null(TEXT), "description": "Null: the record is of every subject."},
        client_id=TEXT,
        client_name=_or_null(TEXT),
        status={"enum": ["granted", "revoked"]},
        at=_or_null(TIME),
        scopes=_or_null(_list(TEXT)),
    ),
    "Consents": _object(("consents",), consents=_list(_ref("Consent")), all_clients_revoked=FLAG, next=_or_null(TEXT)),
    "ConsentChanged": _object(
        ("account", "client_id", "subject", "status", "scopes", "created"),
        **_PARTIES,
        client_id=TEXT,
        subject=_or_null(TEXT),
        status={"enum": ["granted", "revoked", "none"]},
        scopes=_or_null(_list(TEXT)),
        created={**FLAG, "description": "True when there was no record."},
        others={**WHOLE, "description": "With `granted` and `revoked`: changed records of single subjects."},
        removed={**FLAG, "description": "With `none`: True when there was a record."},
    ),
    "RevocationChanged": _object(
        ("status",),
        issuer=TEXT,
        account=TEXT,
        client_id=TEXT,
        status={"enum": ["revoked", "lifted"]},
        changed={**WHOLE, "description": "Changed consents; of one client, accounts."},
        already={**WHOLE, "description": "Of one client: accounts that had revoked it before."},
        failed={**WHOLE, "description": "Of one client: accounts whose records cannot be changed."},
        created=FLAG,
    ),
    "Deleted": _object(("account",), **_PARTIES),
    "Pool": _ANY,
    "Credits": _object(("credits",), **_PARTIES, credits={"type": "object", "additionalProperties": _ref("Pool")}),
    "CreditsChanged": _object(
        ("pool", "change", "amount", "included", "balance", "created"),
        **_PARTIES,
        pool=TEXT,
        change={"enum": ["grant", "spend", "set"]},
        amount=WHOLE,
        included={**WHOLE, "description": "Of a spend: the part taken from included credits."},
        balance=WHOLE,
        created=FLAG,
    ),
    "Usage": {
        **_object(
            ("plan", "status", "quotas", "credits", "holds"),
            **_PARTIES,
            known={**FLAG, "description": "False: the account has no record of its own."},
            plan=_or_null(TEXT),
            status=TEXT,
            quotas=_ANY,
            credits={"type": "object", "additionalProperties": _ref("Pool")},
            overrides=_LIMITS,
            holds=_list(_ANY),
            unreadable_holds=_list(TEXT),
        ),
    },
    "Entry": {
        "type": "object",
        "properties": {"id": TEXT, "at": TEXT, "event": TEXT},
        "required": ["id", "at"],
        "additionalProperties": TEXT,
        "description": "Entry of the journal; docs/journal.md has its fields.",
    },
    "Journal": _object(
        ("entries", "next"),
        entries=_list(_ref("Entry")),
        next={**_or_null(TEXT), "description": "Cursor of the next page; null at the end. A page may be empty."},
    ),
    "Difference": _object(
        ("where", "pool", "what", "expected", "found"),
        where=TEXT,
        pool=_or_null(TEXT),
        what=TEXT,
        expected=TEXT,
        found=TEXT,
    ),
    "Verification": _object(
        ("ok", "entries", "folded", "differences"),
        **_PARTIES,
        ok=FLAG,
        entries=WHOLE,
        folded=TEXT,
        uncounted_until=_or_null(TEXT),
        differences=_list(_ref("Difference")),
    ),
    "Problem": {
        "type": "object",
        "properties": {"title": TEXT, "status": WHOLE, "detail": TEXT, "code": TEXT, "request_id": TEXT},
        "required": ["title", "status", "detail", "code", "request_id"],
        "description": "RFC 9457.",
    },
}
"""Named schemas of the OpenAPI document."""

# --- parameters --------------------------------------------------------------------------------

ISSUER: Final = Parameter("issuer", "query", _text(), "Id of the issuer; required where the config has several.")
IN_PATH: Final = Parameter(
    "account", "path", ACCOUNT, "The account, as tokens name it, percent-encoded as one segment.", required=True
)
CLIENT_IN_PATH: Final = Parameter(
    "client_id", "path", CLIENT, "The client id, percent-encoded as one segment.", required=True
)
CREATE: Final = Parameter(
    "create", "query", {"type": "boolean", "default": False}, "True creates an unknown or deleted account."
)
LIMIT: Final = Parameter(
    "limit", "query", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 100}, "Entries of a page."
)
CURSOR: Final = Parameter("cursor", "query", _text(512, pattern="^[!-~]+$"), "`next` of the page before.")
IF_MATCH: Final = Parameter(
    "If-Match", "header", _text(100), "`ETag` of the record as it was read; the change fails when it has another one."
)
KEY: Final = Parameter(
    "Idempotency-Key",
    "header",
    _text(MAX_KEY, pattern="^[!-~]+$"),
    "Name of this change, of your own choice; a repetition within 24 hours changes nothing and has the same answer.",
    required=True,
)
CLIENT_FILTER: Final = Parameter("client_id", "query", CLIENT, "Only of this client.")
SUBJECT_FILTER: Final = Parameter("subject", "query", ACCOUNT, "Only of this subject.")
EVENT_FILTER: Final = Parameter("event", "query", _text(), "Only entries of this event.")
TOOL_FILTER: Final = Parameter("tool", "query", _text(), "Only entries of this tool.")
ORDER: Final = Parameter(
    "order", "query", {"type": "string", "enum": ["newest", "oldest"], "default": "newest"}, "Order of the entries."
)
_ENTRY_ID: Final = _text(41, pattern="^[0-9]{1,20}-[0-9]{1,20}$")
ENTRY_CURSOR: Final = Parameter("cursor", "query", _ENTRY_ID, "`next` of the page before, or the id of an entry.")
LAST_EVENT: Final = Parameter(
    "Last-Event-ID", "header", _ENTRY_ID, "Id of the last entry that was received; absent: begin with new entries."
)
