"""Texts and addresses of questions to a person, and of the refusal that stands for one."""

from __future__ import annotations

from typing import Final

from sidecar.config.settings.settings import Settings
from sidecar.errors import Refusal
from sidecar.ledger.admission_refusals import cost
from sidecar.ledger.approval_records import Approval
from sidecar.policy.confirming.confirm_rule import Confirm

PAGE: Final = "confirm"
"""Path of an approval below the account page, before its handle."""


def question(rule: Confirm, asked: Approval) -> str:
    """Return the text of a question: the tool, the call and its price."""
    said = asked.message if rule.template is None else f"{rule.title}: {asked.message}"
    price = cost(asked.prices)
    return said if price is None else f"{said}\n{price}"


def page_address(settings: Settings, handle: str) -> str | None:
    """Return the address at which the account holder answers; None without an account page."""
    page = settings.account_page
    return None if page is None else f"{page.url(settings.resource)}/{PAGE}/{handle}"


def page_refusal(refusal: Refusal, address: str) -> Refusal:
    """Return the refusal of a call that the account holder has to confirm on the page first.

    Args:
        refusal: the refusal for the missing confirmation, with the price.
        address: the page of the call's approval.
    """
    detail = f"{refusal.detail} The account holder confirms it at {address}; then repeat the call unchanged."
    return refusal.replace(detail=detail, data={**refusal.data, "confirm": {"page": address}})
