"""Vocabulary of confirmations: the way a call is confirmed, the state of an approval, and its use by a call."""

from __future__ import annotations

from sidecar.vocabulary import TextEnum, record


class ConfirmBy(TextEnum):
    """Ways in which a call is confirmed."""

    ARGUMENT = "argument"  # an argument of the call is true; a model may set it
    PERSON = "person"  # a person answers the client's form
    PAGE = "page"  # the account holder answers on the account page


class ApprovalStatus(TextEnum):
    """States of an approval."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    USED = "used"  # by the admission of one call


@record
class ApprovalUse:
    """Approval that a call claims to have; its admission checks it and uses it up.

    The caller and the account are those of the call.

    Attributes:
        handle: handle of the approval; None for any that the account holder has given for an identical call.
        tool: name of the tool.
        arguments: digest of the completed arguments.
        rule: digest of the tool's compiled rule.
        accepted: True when the call itself has the person's acceptance, as an answer to the client's form.
    """

    handle: str | None
    tool: str
    arguments: str
    rule: str
    accepted: bool = False
