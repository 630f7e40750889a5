"""Spend and grant credits of an account beside the sidecar, and write its plan, status and consents.

    pip install "redis==8.1.0"
    mcp-sidecar script credits > credits.lua
    python spend.py --store redis://127.0.0.1:6379 --account acme grant contact 100 order-1
    python spend.py --store redis://127.0.0.1:6379 --account acme --included month:3000 spend contact 1 reveal-7
    python spend.py --store redis://127.0.0.1:6379 --account acme plan growth
    python spend.py --store redis://127.0.0.1:6379 --account acme status disabled
    python spend.py --store redis://127.0.0.1:6379 --account acme consent granted user-1 cli-1
    python spend.py --store redis://127.0.0.1:6379 --account acme consent granted user-1 cli-1 --scopes "stores:read"
    python spend.py --store redis://127.0.0.1:6379 --account acme consent revoked user-1 cli-1

--store takes `redis+sentinel://host,host/service` and `redis+cluster://host,host`, too, as the sidecar's `store.url`
does. It prints one JSON document. Exit status 0: done; 1: refused, and nothing was changed; 2: wrong command line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import redis
from redis.cluster import ClusterNode
from redis.sentinel import Sentinel

LAYOUT = "1"
CODES = ("done", "created", "account_unknown", "too_little", "too_much", "conflict")
REMEMBER_MS = 24 * 3600 * 1000  # how long a repeated operation id changes nothing
SERVERS = re.compile(r"redis\+(sentinel|cluster)://(?:([^:@]*):([^@]*)@)?([^/?@]+)(?:/([^/?]+))?(?:/([0-9]+))?")
Client = redis.Redis | redis.RedisCluster


def connect(url: str) -> Client:
    """A client of one server, of the primary that sentinels name, or of a cluster. It decodes answers."""
    servers = SERVERS.fullmatch(url)
    if servers is None:
        return redis.Redis.from_url(url, decode_responses=True)
    kind, user, password, hosts, service, database = (unquote(part or "") for part in servers.groups())
    login = {"username": user or None, "password": password or None, "decode_responses": True}
    known_port = 26379 if kind == "sentinel" else 6379
    named = (host.partition(":") for host in hosts.split(","))
    places = [(name, int(port or known_port)) for name, _, port in named]
    if kind == "sentinel":
        return Sentinel(places).master_for(service, db=int(database or 0), **login)
    # All keys of an account are in one slot, so each script runs on one node.
    return redis.RedisCluster(startup_nodes=[ClusterNode(*place) for place in places], **login)


def digest(*parts: str) -> str:
    """Digest of these names, as it is in keys."""
    raw = (part.encode() for part in parts)
    return hashlib.sha256(b"".join(b"%d:%b," % (len(each), each) for each in raw)).hexdigest()[:32]


class Account:
    """One account in the store.

    Args:
        client: what `connect` gives.
        issuer: `issuers[].id` of the sidecar's config.
        account: the account claim of its tokens.
    """

    def __init__(self, client: Client, issuer: str, account: str) -> None:
        layout = client.get("mcp:layout")
        if layout != LAYOUT:  # another layout would take these writes for something else
            raise SystemExit(f"the store's layout is {layout!r}, this program knows {LAYOUT!r}")
        self._client = client
        self._names = {"issuer": issuer, "account": account}
        self._prefix = f"mcp:{{{digest(issuer, account)}}}:"

    def credits(
        self, script: str, verb: str, pool: str, amount: int, operation: str, included: tuple[str, int] | None = None
    ) -> dict[str, Any]:
        """Grant or spend; the same operation again changes nothing and answers the same.

        Args:
            script: what `mcp-sidecar script credits` prints.
            verb: `grant` or `spend`.
            pool: the pool of the policy.
            amount: credits, an integer from 0 to 2**53-1.
            operation: an id that this one change has for ever, such as the number of an order.
            included: for `spend`: window and number of the credits that the account's plan includes.
        """
        names = ("ledger", "holds", "leases", "paid", "requests", "usage", "account", f"done:{operation}")
        window, limit = included or ("", 0)
        # The client may repeat this when a connection breaks: the operation id makes that safe.
        code, balance, taken = self._client.register_script(script)(
            keys=[self._prefix + name for name in names],
            args=[operation, verb, pool, amount, REMEMBER_MS, window, limit, 0, *self._names.values()],
        )
        return {"code": CODES[int(code)], "balance": int(balance), "included": int(taken)}

    def write(self, **fields: str) -> dict[str, Any]:
        """Write plan or status; both count from the next call on."""
        self._client.hset(f"{self._prefix}account", mapping={**self._names, **fields})
        return {"code": "done"}

    def consent(self, status: str, subject: str, client_id: str, scopes: str | None = None) -> dict[str, Any]:
        """Write a consent, `granted` or `revoked`; it counts from the next call on.

        Args:
            status: `granted` or `revoked`.
            subject: the `sub` of the client's tokens.
            client_id: the client.
            scopes: what is granted, separated by spaces; None grants whatever a token has.
        """
        names = {**self._names, "subject": subject, "client_id": client_id}
        record, now = f"consent:{digest(subject, client_id)}", time.time()
        key = self._prefix + record
        listed = {} if scopes is None else {"scopes": scopes}
        self._client.hset(key, mapping={**names, "status": status, "at": f"{now:.3f}", **listed})
        self._client.zadd(f"{self._prefix}consents", {record: round(now * 1000)})  # for lists of connected clients
        if status == "granted" and scopes is None:
            # Scopes of an earlier approval would go on narrowing this one.
            self._client.hdel(key, "scopes")
        return {"code": "done"}


def included(text: str) -> tuple[str, int]:
    """`month:3000`."""
    window, _, limit = text.partition(":")
    return window, int(limit)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store", required=True, metavar="URL")
    parser.add_argument("--issuer", default="main", metavar="ID")
    parser.add_argument("--account", required=True)
    parser.add_argument("--script", type=Path, default=Path("credits.lua"), metavar="FILE")
    parser.add_argument("--included", type=included, metavar="WINDOW:N", help="of the plan; a spend takes them first")
    actions = parser.add_subparsers(dest="action", required=True)
    for verb in ("grant", "spend"):
        action = actions.add_parser(verb)
        action.add_argument("pool")
        action.add_argument("amount", type=int)
        action.add_argument("operation")
    actions.add_parser("plan").add_argument("value")
    actions.add_parser("status").add_argument("value", choices=("active", "disabled"))
    action = actions.add_parser("consent")
    action.add_argument("value", choices=("granted", "revoked"))
    action.add_argument("subject")
    action.add_argument("client_id")
    action.add_argument("--scopes", help="of a granted consent, separated by spaces; without it, all of the token's")
    args = parser.parse_args()
    if args.action == "consent" and args.value == "revoked" and args.scopes is not None:
        parser.error("a revoked consent has no scopes")
    return args


def main() -> int:
    """Do one thing."""
    args = arguments()
    with connect(args.store) as client:
        account = Account(client, args.issuer, args.account)
        try:
            if args.action in ("grant", "spend"):
                source = args.script.read_text("utf-8")
                done = account.credits(source, args.action, args.pool, args.amount, args.operation, args.included)
            elif args.action == "consent":
                done = account.consent(args.value, args.subject, args.client_id, args.scopes)
            else:
                done = account.write(**{args.action: args.value})
        except redis.ResponseError as error:
            done = {"code": "refused", "error": str(error)}
    sys.stdout.write(json.dumps(done) + "\n")
    return 0 if done["code"] in ("done", "created") else 1


if __name__ == "__main__":
    sys.exit(main())
