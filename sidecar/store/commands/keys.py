"""Keys of an account in the store; part of the documented layout.

A digest is the first 32 hexadecimal digits of the SHA-256 of its parts, each written as its length in UTF-8 bytes, a
colon, the bytes and a comma. So no name can collide with another or break out of a key, whatever its characters.
Every key of an account has the account's digest as its hash tag:

    mcp:{ACCOUNT}:account           hash    issuer account plan status deleted quota:NAME:WINDOW
    mcp:{ACCOUNT}:ledger            hash    balance:POOL total:POOL included:POOL:WINDOW quota:NAME:WINDOW
    mcp:{ACCOUNT}:holds             hash    call id -> reserved amounts (JSON)
    mcp:{ACCOUNT}:leases            zset    call id by the end of its lease, in ms since the epoch
    mcp:{ACCOUNT}:paid              set     KIND:NAME:ITEM (no NAME of the policy has a colon)
    mcp:{ACCOUNT}:requests          hash    digest(session, request id) -> call id, while its hold is open
    mcp:{ACCOUNT}:usage             stream  the cost of every call, and every change of a balance
    mcp:{ACCOUNT}:consent:CONSENT   hash    issuer account subject client_id status at scopes client_name
    mcp:{ACCOUNT}:client:CLIENT     hash    the same for every subject, without `subject`
    mcp:{ACCOUNT}:consents          zset    consent:CONSENT and client:CLIENT by a known change, in ms since the epoch
    mcp:{ACCOUNT}:revocation        hash    status at issuer account, of all clients, also unknown ones
    mcp:{ACCOUNT}:session:SESSION   hash    consent subject client_id at used open elicitation
    mcp:{ACCOUNT}:task:TASK         hash    the same without `elicitation`
    mcp:{ACCOUNT}:sessions          zset    SESSION by a known use, in ms since the epoch
    mcp:{ACCOUNT}:sessions:CONSENT  zset    the same of one subject and client
    mcp:{ACCOUNT}:tasks             zset    the same of TASK
    mcp:{ACCOUNT}:tasks:CONSENT     zset    the same of one subject and client
    mcp:{ACCOUNT}:approval:HANDLE   hash    the caller, the call, its prices, status, and the end in ms since the epoch
    mcp:{ACCOUNT}:approvals         zset    HANDLE by its last use, in ms since the epoch; used up ones may be on it
    mcp:{ACCOUNT}:outcome:CALL      string  outcome of a resolved call, kept for the length of a lease
    mcp:{ACCOUNT}:done:OPERATION    string  reply of a change of a balance, kept as long as its caller asks
    mcp:{ACCOUNT}:login:LOGIN       hash    issuer account subject name token at, of a session of the account page
    mcp:{ACCOUNT}:logins            zset    LOGIN by its end, in ms since the epoch

and, with a tag of the id, because the backend may issue one id to two accounts:

    mcp:{SESSION}:session           hash    holder consent issuer account subject client_id at
    mcp:{TASK}:task                 hash    the same

where ACCOUNT is digest(issuer id, account), CONSENT digest(subject, client id), CLIENT
digest(client id), SESSION digest(session id), TASK digest(task id) and LOGIN digest(secret id). Counters are written
`WINDOW_ID:USED`. `holder` is an ACCOUNT, `consent` a CONSENT. `at` is in seconds since the epoch and may have a
fraction, `used` and `open` are in ms; `status` is `active` or
`disabled` for an account (absent means active) and `granted` or `revoked` for a consent; anything else
denies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Final

from sidecar.bulk_strings import encode_words
from sidecar.model import AmountKind, Caller, RequestId
from sidecar.vocabulary import record

REVOKED_CHANNEL: Final = "mcp:revoked"
"""Revocations made by script or command: `ACCOUNT CONSENT`, `ACCOUNT CLIENT` for every subject, or `ACCOUNT *`.

Also answers to approvals: `ACCOUNT answered:HANDLE`, or `failed:` where the client could not ask.
"""

EVERY_CLIENT_TAG: Final = "*"
"""Tag of a published revocation of all clients of an account."""

EVERY_LEASES_KEY: Final = "mcp:{*}:leases"
"""Pattern of every account with open holds, for the slow sweep."""

EVERY_ACCOUNT_KEY: Final = "mcp:{*}:account"
"""Pattern of every account's record."""

EVERY_ACCOUNTS_KEY: Final = "mcp:{*}:*"
"""Pattern of every key with a hash tag: those of all accounts, and the claims of sessions and tasks."""

EVERY_CONSENT_KEY: Final = "mcp:{*}:consent:*"
"""Pattern of every account's consents of single subjects."""

_REMEMBERED: Final = 16_384
_REMEMBERED_WORDS: Final = 4_096  # of about two KiB each
_NAMES: Final = (
    *("account", "ledger", "holds", "leases", "paid", "requests"),
    *("usage", "sessions", "tasks", "revocation", "consents", "approvals", "logins"),
)


def digest(*parts: str) -> str:
    """Return the digest of parts in their order: 32 hexadecimal digits."""
    whole = sha256()
    for part in parts:
        raw = part.encode()
        whole.update(b"%d:%b," % (len(raw), raw))
    return whole.hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """Keys of one account.

    Attributes:
        digest: digest in the hash tag.
        prefix: prefix of every key of the account.
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
    revocation: str = field(init=False)
    consents: str = field(init=False)
    approvals: str = field(init=False)
    logins: str = field(init=False)

    def __post_init__(self) -> None:
        prefix = f"mcp:{{{self.digest}}}:"
        object.__setattr__(self, "prefix", prefix)
        for name in _NAMES:
            object.__setattr__(self, name, prefix + name)

    @property
    def money(self) -> tuple[str, ...]:
        """Keys that `lua/ledger.lua` works on, in its order."""
        return (self.ledger, self.holds, self.leases, self.paid, self.requests, self.usage)

    def consent(self, subject: str, client_id: str) -> str:
        """Return the key of one subject's consent to one client."""
        return f"{self.prefix}consent:{consent_digest(subject, client_id)}"

    def client(self, client_id: str) -> str:
        """Return the key of a client's record for every subject of the account."""
        return f"{self.prefix}client:{client_digest(client_id)}"

    def session(self, session: str) -> str:
        """Return the key of a session's binding."""
        return f"{self.prefix}session:{digest(session)}"

    def task(self, task: str) -> str:
        """Return the key of a task's binding."""
        return f"{self.prefix}task:{digest(task)}"

    def approval(self, handle: str) -> str:
        """Return the key of an approval."""
        return f"{self.prefix}approval:{handle}"

    def login(self, session: str) -> str:
        """Return the key of a session of the account page."""
        return f"{self.prefix}login:{digest(session)}"

    def outcome(self, call_id: str) -> str:
        """Return the key of a resolved call's outcome, which makes late and repeated commands change nothing."""
        return f"{self.prefix}outcome:{call_id}"

    def done(self, operation: str) -> str:
        """Return the key of a reply to a change of a balance, which makes repetitions change nothing.

        The caller chooses the operation id; it may be the id of the call that the change is for.
        """
        return f"{self.prefix}done:{operation}"

    @property
    def every_consent(self) -> str:
        """SCAN pattern of the account's consents."""
        return f"{self.prefix}consent:*"

    @property
    def every_client(self) -> str:
        """SCAN pattern of the account's records for every subject of a client."""
        return f"{self.prefix}client:*"

    @property
    def every_record(self) -> tuple[str, str]:
        """SCAN patterns of all consents of the account."""
        return self.every_client, self.every_consent

    @property
    def every_session(self) -> str:
        """SCAN pattern of the account's sessions."""
        return f"{self.prefix}session:*"

    @property
    def every_login(self) -> str:
        """SCAN pattern of the sessions of the account page."""
        return f"{self.prefix}login:*"

    @property
    def every_list(self) -> tuple[str, str]:
        """SCAN patterns of the lists of sessions and tasks of the account's callers."""
        return f"{self.sessions}:*", f"{self.tasks}:*"

    @property
    def every_task(self) -> str:
        """SCAN pattern of the account's tasks."""
        return f"{self.prefix}task:*"


def every_client_key(client_id: str) -> str:
    """Return the SCAN pattern of one client's records for every subject, over all accounts."""
    return f"mcp:{{*}}:client:{client_digest(client_id)}"


def claim_key(kind: str, name: str) -> str:
    """Return the key of the claim of a session's or task's id; the kind is an `outcome.Bound`."""
    return claim_of(kind, digest(name))


def claim_of(kind: str, name: str) -> str:
    """Return the key of the claim of an id of which only the digest is known."""
    return f"mcp:{{{name}}}:{kind}"


@lru_cache(_REMEMBERED)
def account_keys(issuer_id: str, account: str) -> AccountKeys:
    """Return the keys of an issuer's account."""
    return AccountKeys(digest(issuer_id, account))


@record
class CallerWords:
    """Words of a caller's commands that are the same for each of its calls, encoded.

    Attributes:
        key: a key of the account.
        admission: first KEYS of `lua/admit.lua`.
        ledger: first KEYS of `lua/resolve.lua`, which are the last of `admission`.
        arguments: first ARGV of `lua/admit.lua`.
        outcome: start of the key of a call's outcome, which ends with the call id; not encoded.
        outcome_size: its length.
    """

    key: str
    admission: bytes
    ledger: bytes
    arguments: bytes
    outcome: bytes
    outcome_size: int


@lru_cache(_REMEMBERED_WORDS)
def caller_words(issuer_id: str, account: str, subject: str, client_id: str) -> CallerWords:
    """Return the encoded words of a caller."""
    keys = account_keys(issuer_id, account)
    records = (keys.account, keys.consent(subject, client_id), keys.client(client_id), keys.revocation)
    ledger, outcome = encode_words(*keys.money).packed, keys.outcome("").encode()
    return CallerWords(
        keys.account,
        encode_words(*records).packed + ledger,
        ledger,
        encode_words(issuer_id, account, subject, client_id).packed,
        outcome,
        len(outcome),
    )


def caller_keys(caller: Caller) -> AccountKeys:
    """Return the keys of the account that a caller's token names."""
    return account_keys(caller.issuer_id, caller.account)


def keys_of(key: str) -> AccountKeys:
    """Return the keys of the account that a scanned key belongs to.

    Raises:
        ValueError: the key belongs to no account.
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
    "approvals": "zset",
    "logins": "zset",
    "paid": "set",
    "consents": "zset",
    "usage": "stream",
    "outcome": "string",
    "done": "string",
}


def kind_of(key: str) -> str:
    """Return the type, in the server's words, of a key of an account."""
    return _KINDS.get(place_of(key).partition(":")[0], "hash")


def place_of(key: str) -> str:
    """Return a key without its account: `ledger`, `consent:CONSENT`."""
    return key.partition("}:")[2]


@lru_cache(_REMEMBERED)
def consent_digest(subject: str, client_id: str) -> str:
    """Return the digest of a subject and client; sessions and tasks are bound to it."""
    return digest(subject, client_id)


@lru_cache(_REMEMBERED)
def client_digest(client_id: str) -> str:
    """Return the digest of a client, for every subject."""
    return digest(client_id)


def request_digest(session: str, request_id: RequestId) -> str:
    """Return the digest of a request on a session; the id is in the form of `jsonrpc.canonical`."""
    kind = "integer" if isinstance(request_id, int) else "string"
    return digest(session, kind, str(request_id))


def event_digest(session: str, event_id: str) -> str:
    """Return the digest of an event on a session's streams."""
    return digest(session, "event", event_id)


def paid_member(kind: AmountKind, name: str, item: str) -> str:
    """Return the member of the account's set of paid items."""
    return f"{kind.value}:{name}:{item}"
