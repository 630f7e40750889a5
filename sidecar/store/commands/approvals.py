"""Commands on the approvals of an account, and the readers of their replies.

An admission uses an approval up; the release of a call that was not forwarded gives it back (`scripts`).

A question is bound to its caller and call. Its handle is random, so it is no secret that a forwarded message may hold:
only the caller's own token, or the account holder's login, can use or answer it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from sidecar.approval import ApprovalStatus, ConfirmBy
from sidecar.ledger.approval_records import Approval
from sidecar.model import AmountKind, Price
from sidecar.store.commands.command import Command, text
from sidecar.store.commands.keys import REVOKED_CHANNEL, AccountKeys, account_keys
from sidecar.store.commands.shipped import ANSWER, APPROVALS, ASK

ANSWERED_TAG: Final = "answered:"
"""Start of the tag of a published answer, before the handle; it shares the channel of revocations."""

FAILED_TAG: Final = "failed:"
"""The same where the client could not ask."""

_HANDLE: Final = re.compile("[0-9a-f]{32}")
FIELDS: Final = {
    "issuer": "issuer_id",
    "account": "account",
    "subject": "subject",
    "client_id": "client_id",
    "tool": "tool",
    "title": "title",
    "message": "message",
    "arguments": "arguments",
    "rule": "rule",
    "by": "by",
    "status": "status",
}
"""Texts of a stored record, and the attribute of each."""


def is_handle(word: str) -> bool:
    """Return True for a word that has the form of a handle; no other word may become part of a key."""
    return _HANDLE.fullmatch(word) is not None


def ask(asked: Approval) -> Command:
    """Write a question, or the approval that the next round of a call needs; `asked` reads the reply."""
    if not is_handle(asked.handle):
        raise ValueError("not a handle")
    keys = account_keys(asked.issuer_id, asked.account)
    words = [word for name, attribute in FIELDS.items() for word in (name, str(getattr(asked, attribute)))]
    prices = orjson.dumps([(each.kind, each.name, each.needed, each.left) for each in asked.prices])
    carried = () if asked.carried is None else ("carried", asked.carried)
    return Command(ASK, (keys.approvals,), (asked.handle, *words, "prices", prices, *carried))


def was_asked(asked: Approval, reply: Any) -> Approval:
    """Read the reply of `ask`: the question with its end, under the handle of one that was pending already."""
    return replace(asked, handle=text(reply[0]), expires_at=int(reply[1]))


def answer(
    keys: AccountKeys, handle: str, subject: str, accepted: bool, client_id: str = "", failed: bool = False
) -> Command:
    """Accept or decline a pending approval of a subject, and notify the sidecars; `answered` reads the reply.

    Args:
        keys: keys of the account.
        handle: the approval's.
        subject: the person that answers.
        accepted: the answer.
        client_id: the client that passes the answer on; empty on the account page.
        failed: True when the client could not ask, which counts as declined.
    """
    if not is_handle(handle):
        raise ValueError("not a handle")
    word = ApprovalStatus.ACCEPTED if accepted else ApprovalStatus.DECLINED
    message = f"{keys.digest} {FAILED_TAG if failed else ANSWERED_TAG}{handle}"
    return Command(ANSWER, (keys.approvals,), (word, handle, subject, client_id, REVOKED_CHANNEL, message))


def announced(message: str) -> tuple[str, str, bool] | None:
    """Return the account, the handle and `failed` of a published answer; None for a revocation."""
    account, _, tag = message.partition(" ")
    for start in (ANSWERED_TAG, FAILED_TAG):
        if tag.startswith(start):
            return account, tag.removeprefix(start), start == FAILED_TAG
    return None


def answered(reply: Any) -> ApprovalStatus | None:
    """Return the state of the approval after an answer: that of the first one; None when the subject has none."""
    return None if reply is None else ApprovalStatus(text(reply))


def find(keys: AccountKeys, handle: str) -> Command:
    """Read one approval, whichever its state; `found` reads the reply."""
    if not is_handle(handle):
        raise ValueError("not a handle")
    return Command(APPROVALS, (keys.approvals,), (handle,))


def listed(keys: AccountKeys) -> Command:
    """Read the approvals of an account that are not used yet, the latest first; `found` reads the reply."""
    return Command(APPROVALS, (keys.approvals,), ("",))


def found(reply: Any) -> list[Approval]:
    """Read the reply of `find` and `listed`; records that do not match the layout are left out."""
    read = (_approval(text(handle), flat) for handle, flat in zip(reply[::2], reply[1::2], strict=True))
    return [each for each in read if each is not None]


def _approval(handle: str, flat: Any) -> Approval | None:
    words = list(map(text, flat))
    return parse_approval(handle, dict(zip(words[::2], words[1::2], strict=True)))


def parse_approval(handle: str, record: Mapping[str, str]) -> Approval | None:
    """Return an approval from its record; None for one that does not match the layout."""
    try:
        values: dict[str, Any] = {attribute: record[name] for name, attribute in FIELDS.items()}
        values["by"], values["status"] = ConfirmBy(values["by"]), ApprovalStatus(values["status"])
        prices = tuple(
            Price(AmountKind(kind), name, int(needed), None if left is None else int(left))
            for kind, name, needed, left in orjson.loads(record["prices"])
        )
        times: dict[str, Any] = {"expires_at": int(record["expires"]), "used_at": int(record["used"])}
        return Approval(
            handle, **values, **times, prices=prices, call=record.get("call"), carried=record.get("carried")
        )
    except (KeyError, ValueError, TypeError):
        return None
