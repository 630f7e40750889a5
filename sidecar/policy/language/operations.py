"""Compiler of operations: scopes, amounts, and terms for gates 5-7."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from sidecar.config.documents.merging import Path
from sidecar.model import MAX_AMOUNTS_PER_HOLD, AmountKind, OnUnknown
from sidecar.policy.expressions.expressions import Expression, ExpressionError, compile_expression
from sidecar.policy.language.checking import Checker
from sidecar.policy.language.models import Amount as AmountEntry
from sidecar.policy.language.models import AmountDocument, OperationDocument, PolicyDocument
from sidecar.policy.names import Names
from sidecar.policy.pricing import Amount, Prices
from sidecar.policy.rules import Kind, Operation, Plan, Resource
from sidecar.policy.scopes import ScopeTree
from sidecar.terms import PlanTerms, Terms
from sidecar.window_rules import Window

_BEFORE: Final = ("meta",)
_AFTER: Final = ("meta", "result", "data")
_SECTIONS: Final = {AmountKind.QUOTA: "quotas", AmountKind.CREDIT: "credits"}

Entry = tuple[AmountKind, Mapping[str, AmountEntry], Path]
"""Amounts of one kind, and their path in the document."""


class OperationCompiler:
    """Compiler of the operations of one policy; problems go to the checker.

    Attributes:
        before: roots that an amount may read before the call is forwarded.
        after: roots that an amount may read when the call is settled.
    """

    before: tuple[str, ...] = _BEFORE
    after: tuple[str, ...] = _AFTER

    def __init__(
        self,
        checker: Checker,
        model: PolicyDocument,
        scopes: ScopeTree,
        plans: Mapping[str, Plan] | None,
        items: int,
    ) -> None:
        self.checker = checker
        self.model = model
        self.scopes = scopes
        self.plans = plans
        self.items = items

    def operation(self, kind: Kind, name: str, entry: OperationDocument) -> Operation:
        """Compile a prompt or a method."""
        return Operation(**self._parts(kind, name, entry))

    def resource(self, name: str, entry: OperationDocument) -> Resource:
        """Compile the resources of one pattern."""
        parts = self._parts(Kind.RESOURCE, name, entry)
        operation = Operation(**parts)
        fixed = [amount for amount in operation.prices.amounts if amount.fixed]
        return Resource(**parts, watching=replace(operation, prices=Prices.of(fixed, None, self.items)))

    def _parts(self, kind: Kind, name: str, entry: OperationDocument) -> dict[str, Any]:
        path: Path = (kind.section, name)
        self.checker.known("scopes", entry.scopes, (*path, "scopes"))
        uses: Entry = (AmountKind.QUOTA, entry.uses, (*path, "uses"))
        spends: Entry = (AmountKind.CREDIT, entry.spends, (*path, "spends"))
        amounts = self._amounts((uses, spends), path)
        terms = self._terms(kind, name, entry.scopes, amounts)
        document = self.checker.document
        return {
            "kind": kind,
            "name": name,
            "scopes": entry.scopes,
            "prices": Prices.of(amounts, None, self.items),
            "terms": terms,
            "unscoped_terms": unscoped(terms),
            "rule": document.rule(path),
            "scopes_rule": document.rule((*path, "scopes")),
            "meta": meta_names(amounts),
            "on_unknown": entry.on_unknown or default_on_unknown(amounts),
            "timeout": entry.timeout,
        }

    # --- amounts -------------------------------------------------------------------------------

    def _amounts(self, entries: Iterable[Entry], path: Path) -> tuple[Amount, ...]:
        found: list[Amount] = []
        for kind, amounts, at in entries:
            section = _SECTIONS[kind]
            for name, amount in amounts.items():
                if not self.checker.declared(section, name):
                    self.checker.unknown(section, name, (*at, name), at_key=True)
                found.append(self._amount(name, kind, amount, (*at, name)))
        if len(found) > MAX_AMOUNTS_PER_HOLD:  # the store cannot resolve a hold with more
            self.checker.wrong(
                path, f"has {len(found)} amounts, uses and spends together", f"at most {MAX_AMOUNTS_PER_HOLD}"
            )
        return tuple(found)

    def _amount(self, name: str, kind: AmountKind, entry: AmountEntry, path: Path) -> Amount:
        rule, shadow = self.checker.document.rule(path), self._shadow(kind, name)
        if not isinstance(entry, AmountDocument):
            return Amount(kind, name, rule, reserve=self._units(entry, self.before, path), shadow=shadow)
        if (entry.items is None) == (entry.reserve is None):
            self.checker.wrong(path, "has neither or both of reserve and items", "exactly one of reserve, items")
        elif entry.items is None:
            self._check_plain(entry, path)
        else:
            self._check_items(entry, path)
        settle_path = (*path, "settle")
        return Amount(
            kind,
            name,
            rule,
            reserve=None if entry.items is not None else self._units(entry.reserve, self.before, (*path, "reserve")),
            items=self._expression(entry.items, self.before, (*path, "items")),
            each=entry.each or 1,
            settle=None if entry.settle is None else self._units(entry.settle, self.after, settle_path),
            once=bool(entry.once),
            shadow=shadow,
        )

    def _shadow(self, kind: AmountKind, name: str) -> str | None:
        """Return `file:line` of a quota in shadow mode; None for any other amount."""
        return self.checker.shadow_quotas(self.model).get(name) if kind is AmountKind.QUOTA else None

    def _check_plain(self, entry: AmountDocument, path: Path) -> None:
        for key in ("each", "once"):
            if getattr(entry, key) is not None:
                self.checker.wrong((*path, key), "is used with items only", "items, or not this key", at_key=True)

    def _check_items(self, entry: AmountDocument, path: Path) -> None:
        if isinstance(entry.settle, int):
            self.checker.wrong((*path, "settle"), "an integer is given", "an expression for the delivered items")

    def _units(self, entry: int | str | None, roots: tuple[str, ...], path: Path) -> int | Expression:
        return entry if isinstance(entry, int) else self._expression(entry, roots, path) or 0

    def _expression(self, text: str | None, roots: tuple[str, ...], path: Path) -> Expression | None:
        if text is None:
            return None
        try:
            return compile_expression(text, roots, self.items)
        except ExpressionError as error:
            self.checker.wrong(path, str(error), f"JMESPath over {', '.join(roots)}")
            return None

    # --- terms ---------------------------------------------------------------------------------

    def _terms(self, kind: Kind, name: str, scopes: Iterable[str], amounts: Iterable[Amount]) -> Terms:
        quotas = [amount.name for amount in amounts if amount.kind is AmountKind.QUOTA]
        pools = [amount.name for amount in amounts if amount.kind is AmountKind.CREDIT]
        declared = self.model.quotas
        base = PlanTerms(True, {quota: declared[quota].limits if quota in declared else {} for quota in quotas})
        plans: dict[str, PlanTerms] | None = None if self.plans is None else {}
        for each in (self.plans or {}).values():
            included = {pool: each.credits[pool] for pool in pools if pool in each.credits}
            limits = {quota: limits_of(each.quotas.get(quota, {})) for quota in quotas}
            shadow = each.shadow_rule(kind, name)
            plans = {**(plans or {}), each.name: PlanTerms(each.includes(kind, name), limits, included, shadow)}
        known = [scope for scope in scopes if scope in self.scopes.rules]
        granting = tuple(self.scopes.granting(scope) for scope in known)
        tool = name if kind is Kind.TOOL else ""
        return Terms(self.model.consent, self.model.default_plan, plans, base, granting, tool)


def unscoped(terms: Terms) -> Terms:
    """Return the terms without scopes."""
    return replace(terms, scopes=())


def meta_names(amounts: Iterable[Amount], *others: Expression | None) -> Names | None:
    """Collect the names that expressions read in `_meta`, to refuse confusable ones; None when they read none."""
    found: Names | None = None
    expressions = [part for amount in amounts for part in amount.expressions]
    for expression in (*expressions, *(each for each in others if each is not None)):
        for root, *fields in expression.reads:
            if root == "meta" and fields:
                found = found or Names()
                found.add(fields)
    return found


def default_on_unknown(amounts: Iterable[Amount]) -> OnUnknown:
    """Return SETTLE where items are paid once: the retry is then free."""
    return OnUnknown.SETTLE if any(amount.once for amount in amounts) else OnUnknown.RELEASE


def limits_of(limits: Mapping[Any, int]) -> Mapping[Window, int]:
    """Convert the models' limits, with window names as text, to limits per window."""
    return dict(limits)
