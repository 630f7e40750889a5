"""Refusals that gates 6 and 7 would have made, if their rules in shadow mode were enforced.

Pure. A quota in shadow mode is counted as any other and refuses nothing; a tool list in shadow mode includes every
tool. The reply of the store says enough about both.
"""

from __future__ import annotations

from sidecar.errors import ErrorCode, ShadowRefusal
from sidecar.model import AdmissionReply, Application


def shadow_refusals(admission: AdmissionReply, application: Application) -> tuple[ShadowRefusal, ...]:
    """Return the refusals of rules in shadow mode that the admission passed.

    Args:
        admission: reply of the store.
        application: application that was sent.
    """
    found: list[ShadowRefusal] = []
    plans, plan = application.terms.plans, admission.plan
    if plans and plan and plan in plans and (shadow := plans[plan].shadow) is not None:
        found.append(ShadowRefusal(shadow, ErrorCode.PLAN_REQUIRED))
    prices = admission.prices
    for place, demand in enumerate(application.demands):
        if demand.shadow is None or place >= len(prices):
            continue
        price = prices[place]
        if price.left is not None and price.needed > price.left:
            detail = f"{price.needed} of {price.name} needed, {price.left} of {price.limit} per {price.window} left"
            found.append(ShadowRefusal(demand.shadow, ErrorCode.QUOTA_EXCEEDED, detail, demand.name))
    return tuple(found)
