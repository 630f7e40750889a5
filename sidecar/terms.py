"""Terms of an operation: what consent and plans grant, compiled once and encoded for the admission script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from sidecar.bulk_strings import EncodedWords, encode_words
from sidecar.vocabulary import TextEnum
from sidecar.window_rules import WINDOWS, Window


class ConsentMode(TextEnum):
    """Source of consent records: they exist beforehand, or the first valid token creates one."""

    REQUIRED = "required"
    FIRST_USE = "first_use"


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """Grants of one plan for one operation, limited to the quotas and pools that the operation uses.

    Attributes:
        allowed: True when the plan includes the operation.
        quotas: limit per quota and window.
        credits: window and included credits per pool.
        shadow: `file:line` of a tool list in shadow mode that leaves the operation out.
    """

    allowed: bool
    quotas: Mapping[str, Mapping[Window, int]] = field(default_factory=dict)
    credits: Mapping[str, tuple[Window, int]] = field(default_factory=dict)
    shadow: str | None = None

    def encoded(self) -> bytes:
        """Return the terms as the admission script reads them (`lua/admit.lua`)."""
        quotas = {
            name: [(place, window, limits[window]) for place, window in enumerate(WINDOWS, 1) if window in limits]
            for name, limits in self.quotas.items()
        }
        return orjson.dumps({"quotas": quotas, "credits": dict(self.credits)}) if self.allowed else b""


@dataclass(frozen=True, slots=True)
class Terms:
    """Consent, plans and scopes of one operation, the same for every caller: compiled once per operation.

    Attributes:
        consent: the policy's consent mode.
        default_plan: the plan of an account without a record; None rejects it.
        plans: terms per plan name; None when the policy has no plans (then `base` holds for all).
        base: terms of accounts in a policy without plans.
        scopes: for each scope the operation needs, every scope that grants it (itself and those
            that imply it): a consent record that lists scopes must hold one of each.
        tool: name of the tool, for the journal; empty for other operations.
        encoded: all of them as arguments of the admission script (`lua/admit.lua`), encoded once.
    """

    consent: ConsentMode
    default_plan: str | None
    plans: Mapping[str, PlanTerms] | None
    base: PlanTerms
    scopes: tuple[tuple[str, ...], ...] = ()
    tool: str = ""
    encoded: EncodedWords = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        scopes = orjson.dumps(self.scopes) if self.scopes else b""
        plans: list[str | bytes | int] = [-1, self.base.encoded()]
        if self.plans is not None:
            plans = [len(self.plans), *(word for name, plan in self.plans.items() for word in (name, plan.encoded()))]
        encoded = encode_words(self.consent.value, self.default_plan or "", scopes, *plans, self.tool)
        object.__setattr__(self, "encoded", encoded)
