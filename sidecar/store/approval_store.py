"""Approvals of calls in the store, for the request path and the account page.

An admission checks an approval and uses it up (`store.Store.admit`, `model.Application.approval`); everything before
and after that is here.
"""

from __future__ import annotations

from sidecar.approval import ApprovalStatus
from sidecar.ledger.approval_records import Approval
from sidecar.model import Application
from sidecar.store.commands import approvals
from sidecar.store.commands.keys import account_keys
from sidecar.store.store import Store


class ApprovalStore:
    """Approvals of all accounts.

    Methods raise the `Refusal` `store_unavailable` when the store does not answer.

    Args:
        store: keeps the approvals.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ask(self, asked: Approval) -> Approval:
        """Write a pending approval, and return it with its end on the store's clock.

        A question for the account page that is pending for an identical call is returned in its place. A full account
        loses the approval that was not used for longest.

        Args:
            asked: the question, with a handle from `random_ids.random_id`.
        """
        return approvals.was_asked(asked, await self._store.run(approvals.ask(asked)))

    async def find(self, issuer_id: str, account: str, handle: str) -> Approval | None:
        """Return an approval of an account; None without one, or after its end."""
        if not approvals.is_handle(handle):
            return None
        found = approvals.found(await self._store.run(approvals.find(account_keys(issuer_id, account), handle)))
        return found[0] if found else None

    async def pending(self, issuer_id: str, account: str, subject: str | None = None) -> list[Approval]:
        """Return the pending approvals of an account, or of one subject of it, the latest first."""
        found = approvals.found(await self._store.run(approvals.listed(account_keys(issuer_id, account))))
        return [each for each in found if each.status is ApprovalStatus.PENDING and subject in (None, each.subject)]

    async def answer(
        self,
        issuer_id: str,
        account: str,
        handle: str,
        subject: str,
        *,
        accepted: bool,
        client_id: str = "",
        failed: bool = False,
    ) -> ApprovalStatus | None:
        """Accept or decline a pending approval, and return its state: the first answer counts.

        The sidecar whose call waits for it learns of the answer at once.

        Args:
            issuer_id: issuer of the account.
            account: the account.
            handle: the approval's.
            subject: the person that answers; an approval of another subject does not exist for it.
            accepted: the answer.
            client_id: the client that passes the answer on; empty on the account page.
            failed: True when the client could not ask the person; it counts as declined.

        Returns:
            The state after the answer; None when the subject has no such approval, or it has expired.
        """
        if not approvals.is_handle(handle):
            return None
        command = approvals.answer(account_keys(issuer_id, account), handle, subject, accepted, client_id, failed)
        return approvals.answered(await self._store.run(command))

    def withdraw(self, asked: Approval) -> None:
        """Close a question that no call waits for any more, unless it is answered; retried until acknowledged."""
        keys = account_keys(asked.issuer_id, asked.account)
        self._store.outbox.deliver(approvals.answer(keys, asked.handle, asked.subject, accepted=False))

    def give_back(self, application: Application) -> None:
        """Make the approval usable again that a call without a price has used, of which nothing was sent.

        Retried until acknowledged. The release of a call with a price does it, too.
        """
        self._store.outbox.release(application)
