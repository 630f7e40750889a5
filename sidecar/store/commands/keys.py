"""Where everything about an account stands in the store; part of the documented layout.

A digest is the first 32 hexadecimal digits of the SHA-256 of its parts, each written as its length
in UTF-8 bytes, a colon, the bytes and a comma. So no name, whatever is in it, can look like another
or break out of a key. Every key of an account carries the account's digest as its hash tag:

    mcp:{ACCOUNT}:account           hash    issuer account plan status deleted quota:NAME:WINDOW
    mcp:{ACCOUNT}:ledger            hash    balance:POOL total:POOL included:POOL:WINDOW quota:NAME:WINDOW
    mcp:{ACCOUNT}:holds             hash    call id -> what is reserved (JSON)
    mcp:{ACCOUNT}:leases            zset    call id by the end of its lease, in ms since the epoch
    mcp:{ACCOUNT}:paid              set     KIND:NAME:ITEM (no NAME of the policy has a colon)
    mcp:{ACCOUNT}:requests          hash    digest(session, request id) -> call id, while its hold is open
    mcp:{ACCOUNT}:usage             stream  what every call cost, and every change of a balance
    mcp:{ACCOUNT}:consent:CONSENT   hash    issuer account subject client_id status at scopes
    mcp:{ACCOUNT}:client:CLIENT     hash    the same for every subject, without `subject`
    mcp:{ACCOUNT}:session:SESSION   hash    consent subject client_id at
    mcp:{ACCOUNT}:task:TASK         hash    the same
    mcp:{ACCOUNT}:sessions          zset    SESSION by when it was bound, in ms since the epoch
    mcp:{ACCOUNT}:tasks             zset    the same of TASK
    mcp:{ACCOUNT}:outcome:CALL      string  how a call was resolved, kept for the length of a lease
    mcp:{ACCOUNT}:done:OPERATION    string  what a change of a balance has answered, kept as long as its maker says

where ACCOUNT is digest(issuer id, account), CONSENT digest(subject, client id), CLIENT
digest(client id), SESSION digest(session id) and TASK digest(task id). Counters are written
`WINDOW_ID:USED`. `at` is in seconds since the epoch and may have a fraction; `status` is `active` or
`disabled` for an account (absent means active) and `granted` or `revoked` for a consent; anything else
denies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Final

from sidecar.model import AmountKind, Caller, RequestId

REVOKED_CHANNEL: Final = "mcp:revoked"
"""Revocations made by script or command: `ACCOUNT CONSENT`, or `ACCOUNT CLIENT` for every subject."""

EVERY_LEASES_KEY: Final = "mcp:{*}:leases"
"""The pattern that finds every account with open holds, for the slow sweep."""

EVERY_ACCOUNT_KEY: Final = "mcp:{*}:account"
"""The pattern that finds every account's record."""

_REMEMBERED: Final = 16_384


def digest(*parts: str) -> str:
    """32 hexadecimal digits that stand for these parts in this order."""
    whole = sha256()
    for part in parts:
        raw = part.encode()
        whole.update(b"%d:%b," % (len(raw), raw))
    return whole.hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """The keys of one account.

    Attributes:
        digest: what stands in the hash tag.
        prefix: what every key of the account starts with.
    """

    digest: str
    prefix: str = field(init=False)
    account: str = field(init=False)
    ledger: str = field(init=False)
    holds: str = field(init=False)
    leases: str = field(init=False)
    paid: str = field(init=False)
    requests: str = field(init=False)
    usage: str = field(init=False)
    sessions: str = field(init=False)
    tasks: str = field(init=False)

    def __post_init__(self) -> None:
        prefix = f"mcp:{{{self.digest}}}:"
        object.__setattr__(self, "prefix", prefix)
        for name in ("account", "ledger", "holds", "leases", "paid", "requests", "usage", "sessions", "tasks"):
            object.__setattr__(self, name, prefix + name)

    @property
    def money(self) -> tuple[str, ...]:
        """The keys that `lua/ledger.lua` works on, in its order."""
        return (self.ledger, self.holds, self.leases, self.paid, self.requests, self.usage)

    def consent(self, subject: str, client_id: str) -> str:
        """The consent of one subject to one client."""
        return f"{self.prefix}consent:{consent_digest(subject, client_id)}"

    def client(self, client_id: str) -> str:
        """The record about one client that holds for every subject of the account."""
        return f"{self.prefix}client:{client_digest(client_id)}"

    def session(self, session: str) -> str:
        """Whose a session is."""
        return f"{self.prefix}session:{digest(session)}"

    def task(self, task: str) -> str:
        """Whose a task is."""
        return f"{self.prefix}task:{digest(task)}"

    def outcome(self, call_id: str) -> str:
        """How a call was resolved: kept so that late and repeated commands change nothing."""
        return f"{self.prefix}outcome:{call_id}"

    def done(self, operation: str) -> str:
        """What a change of a balance has answered: kept so that repeating it changes nothing.

        Whoever makes it names the operation, and may do so by the call that it is for: the backend knows its id.
        """
        return f"{self.prefix}done:{operation}"

    @property
    def every_consent(self) -> str:
        """The pattern that finds the account's consents, for SCAN."""
        return f"{self.prefix}consent:*"

    @property
    def every_client(self) -> str:
        """The pattern that finds the account's records about all subjects of a client."""
        return f"{self.prefix}client:*"

    @property
    def every_session(self) -> str:
        """The pattern that finds the account's sessions."""
        return f"{self.prefix}session:*"

    @property
    def every_task(self) -> str:
        """The pattern that finds the account's tasks."""
        return f"{self.prefix}task:*"


@lru_cache(_REMEMBERED)
def account_keys(issuer_id: str, account: str) -> AccountKeys:
    """The keys of the account that an issuer names so."""
    return AccountKeys(digest(issuer_id, account))


def caller_keys(caller: Caller) -> AccountKeys:
    """The keys of the account a caller's token names."""
    return account_keys(caller.issuer_id, caller.account)


def keys_of(key: str) -> AccountKeys:
    """The keys of the account that a key found by SCAN belongs to.

    Raises:
        ValueError: it is no key of an account.
    """
    start, _, rest = key.partition("{")
    tag, closing, _ = rest.partition("}:")
    if start != "mcp:" or not closing:
        raise ValueError("not the key of an account")
    return AccountKeys(tag)


_KINDS: Final = {
    "leases": "zset",
    "sessions": "zset",
    "tasks": "zset",
    "paid": "set",
    "usage": "stream",
    "outcome": "string",
    "done": "string",
}


def kind_of(key: str) -> str:
    """The type, as the server names it, of a key of an account."""
    return _KINDS.get(place_of(key).partition(":")[0], "hash")


def place_of(key: str) -> str:
    """Which key of its account it is, without the account: `ledger`, `consent:CONSENT`."""
    return key.partition("}:")[2]


@lru_cache(_REMEMBERED)
def consent_digest(subject: str, client_id: str) -> str:
    """What stands for one subject and client under their account; it is also what sessions and tasks are bound to."""
    return digest(subject, client_id)


@lru_cache(_REMEMBERED)
def client_digest(client_id: str) -> str:
    """What stands for one client, whatever the subject."""
    return digest(client_id)


def request_digest(session: str, request_id: RequestId) -> str:
    """What stands for one request of one session; its id as `jsonrpc.canonical` reads it."""
    kind = "integer" if isinstance(request_id, int) else "string"
    return digest(session, kind, str(request_id))


def event_digest(session: str, event_id: str) -> str:
    """What stands for one event of one session's streams."""
    return digest(session, "event", event_id)


def paid_member(kind: AmountKind, name: str, item: str) -> str:
    """How a paid item is listed among those of its account."""
    return f"{kind.value}:{name}:{item}"
