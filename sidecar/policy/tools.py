"""Compiles tools: scopes, argument rules, confirmation, amounts, and what gates 5-7 are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sidecar.config.documents import Path
from sidecar.model import AmountKind, OnUnknown, PlanTerms, Terms, Window
from sidecar.policy.arguments import ArgumentRules
from sidecar.policy.checking import Checker
from sidecar.policy.expressions import AFTER, BEFORE, Expression, ExpressionError, compile_expression
from sidecar.policy.models import Amount as AmountEntry
from sidecar.policy.models import AmountDocument, ConfirmDocument, PolicyDocument, ToolDocument
from sidecar.policy.names import Names
from sidecar.policy.pricing import Amount, Prices
from sidecar.policy.rules import Confirm, Plan, Tool
from sidecar.policy.schemas import argument_rules
from sidecar.policy.scopes import ScopeTree

_USES: Final = ("uses", "quotas", AmountKind.QUOTA)
_SPENDS: Final = ("spends", "credits", AmountKind.CREDIT)
_EMPTY_SCHEMA: Final = {"type": "object", "properties": {}, "additionalProperties": False}
_NOT_SERVED: Final = ("arguments", "confirm", "rows", "timeout", "charge_errors", "on_unknown")


class ToolCompiler:
    """Compiles the tools of one policy; problems go to the checker."""

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

    def compile(self, name: str, entry: ToolDocument) -> Tool:
        """Compile one tool."""
        path: Path = ("tools", name)
        self.checker.known("scopes", entry.scopes, (*path, "scopes"))
        self._check_served(entry, path)
        arguments = self._arguments(entry, path)
        amounts = tuple(self._amounts(entry, path))
        rows = self._expression(entry.rows, AFTER, (*path, "rows"))
        meta = self._note_reads(arguments, amounts, rows, path)
        terms = self._terms(name, entry, amounts)
        document = self.checker.document
        return Tool(
            name=name,
            scopes=entry.scopes,
            arguments=arguments,
            prices=Prices.of(amounts, rows, self.items),
            terms=terms,
            unscoped_terms=Terms(terms.consent, terms.default_plan, terms.plans, terms.base),
            rule=document.rule(path),
            scopes_rule=document.rule((*path, "scopes")),
            arguments_rule=document.rule((*path, "arguments")),
            meta=meta,
            confirm=self._confirm(entry, path),
            serve=entry.serve,
            charge_errors=bool(entry.charge_errors),
            on_unknown=entry.on_unknown or _on_unknown(amounts),
            timeout=entry.timeout,
        )

    def _check_served(self, entry: ToolDocument, path: Path) -> None:
        if entry.serve is None:
            return
        for key in _NOT_SERVED:
            if getattr(entry, key) is not None:
                wrong = "the sidecar answers this tool itself"
                self.checker.wrong((*path, key), wrong, "not beside serve", at_key=True)

    # --- arguments and confirmation ------------------------------------------------------------

    def _arguments(self, entry: ToolDocument, path: Path) -> ArgumentRules:
        schema = _EMPTY_SCHEMA if entry.serve else entry.arguments
        rules = argument_rules(self.checker.document, (*path, "arguments"), schema, self.checker.problems)
        confirm = entry.confirm
        if confirm is None:
            return rules
        self._check_confirm(confirm, rules, entry, (*path, "confirm"))
        rules.names.child(confirm.argument)
        if not confirm.inject:
            return rules
        return ArgumentRules(rules.names, rules.defaults, rules.validator, rules.declared, confirm.argument)

    def _check_confirm(self, confirm: ConfirmDocument, rules: ArgumentRules, entry: ToolDocument, path: Path) -> None:
        name = confirm.argument
        place = (*path, "argument")
        declared = name in rules.declared
        if confirm.inject and declared:
            self.checker.wrong(place, f"{name!r} is injected and declared in arguments", "one of the two")
        elif not confirm.inject and not declared:
            self.checker.wrong(place, f"{name!r} is not declared in arguments", "a declared boolean, or inject: true")
        elif declared and name in rules.defaults:
            default = (*path[:-1], "arguments", "properties", name, "default")
            self.checker.wrong(default, "a default would confirm in the caller's place", "no default", at_key=True)
        elif declared and not _may_be_true(entry, name):
            self.checker.wrong(place, f"{name!r} is not declared as a boolean", "type: boolean")

    def _confirm(self, entry: ToolDocument, path: Path) -> Confirm | None:
        confirm = entry.confirm
        if confirm is None:
            return None
        message = confirm.message or (
            f"This call needs an explicit confirmation: repeat it with {confirm.argument} set to true."
        )
        return Confirm(confirm.argument, message, confirm.inject, self.checker.document.rule((*path, "confirm")))

    # --- amounts -------------------------------------------------------------------------------

    def _amounts(self, entry: ToolDocument, path: Path) -> Iterator[Amount]:
        default = entry.uses is None
        uses = self.model.defaults.uses if entry.uses is None else entry.uses
        uses_path: Path = ("defaults", "uses") if default else (*path, "uses")
        sections = ((uses, uses_path, _USES), (entry.spends, (*path, "spends"), _SPENDS))
        for entries, at, (_, section, kind) in sections:
            for name, amount in entries.items():
                if not self.checker.declared(section, name):
                    self.checker.unknown(section, name, (*at, name), at_key=True)
                yield self._amount(name, kind, amount, (*at, name))

    def _amount(self, name: str, kind: AmountKind, entry: AmountEntry, path: Path) -> Amount:
        rule = self.checker.document.rule(path)
        if not isinstance(entry, AmountDocument):
            return Amount(kind, name, rule, reserve=self._units(entry, BEFORE, path))
        if (entry.items is None) == (entry.reserve is None):
            self.checker.wrong(path, "gives neither or both of reserve and items", "one of reserve, items")
        elif entry.items is None:
            self._check_plain(entry, path)
        else:
            self._check_items(entry, path)
        settle_path = (*path, "settle")
        return Amount(
            kind,
            name,
            rule,
            reserve=None if entry.items is not None else self._units(entry.reserve, BEFORE, (*path, "reserve")),
            items=self._expression(entry.items, BEFORE, (*path, "items")),
            each=entry.each or 1,
            settle=None if entry.settle is None else self._units(entry.settle, AFTER, settle_path),
            once=bool(entry.once),
        )

    def _check_plain(self, entry: AmountDocument, path: Path) -> None:
        for key in ("each", "once"):
            if getattr(entry, key) is not None:
                self.checker.wrong((*path, key), "has a meaning beside items only", "items, or not this", at_key=True)

    def _check_items(self, entry: AmountDocument, path: Path) -> None:
        if isinstance(entry.settle, int):
            self.checker.wrong((*path, "settle"), "an integer is given", "an expression that gives the items delivered")

    def _units(self, entry: int | str | None, roots: tuple[str, ...], path: Path) -> int | Expression:
        return entry if isinstance(entry, int) else self._expression(entry, roots, path) or 0

    def _expression(self, text: str | None, roots: tuple[str, ...], path: Path) -> Expression | None:
        if text is None:
            return None
        try:
            return compile_expression(text, roots)
        except ExpressionError as error:
            self.checker.wrong(path, str(error), f"JMESPath over {', '.join(roots)}")
            return None

    def _note_reads(
        self, arguments: ArgumentRules, amounts: tuple[Amount, ...], rows: Expression | None, path: Path
    ) -> Names | None:
        """Expressions may read declared arguments only, and what they read nobody may disguise.

        Returns:
            the names they read of `_meta`, if any.
        """
        meta: Names | None = None
        expressions = [(part, amount.name) for amount in amounts for part in amount.expressions]
        expressions += [(rows, "rows")] if rows is not None else []
        for expression, what in expressions:
            for root, *fields in expression.reads:
                if root == "meta" and fields:
                    meta = meta or Names()
                    meta.add(fields)
                if root != "arguments" or not fields:
                    continue
                if fields[0] not in arguments.declared:
                    self._undeclared(str(fields[0]), what, arguments, path)
                arguments.names.add(fields)
        return meta

    def _undeclared(self, name: str, what: str, arguments: ArgumentRules, path: Path) -> None:
        accepted = ", ".join(arguments.declared) or "none is declared; declare it in arguments.properties"
        where = next((p for p in self._places(what, path) if p in self.checker.document.values), path)
        self.checker.wrong(where, f"reads the argument {name!r}, which {path[1]} does not declare", accepted)

    def _places(self, what: str, path: Path) -> tuple[Path, ...]:
        return ((*path, "uses", what), (*path, "spends", what), (*path, what), ("defaults", "uses", what))

    # --- what gates 5-7 are told ---------------------------------------------------------------

    def _terms(self, name: str, entry: ToolDocument, amounts: tuple[Amount, ...]) -> Terms:
        quotas = [amount.name for amount in amounts if amount.kind is AmountKind.QUOTA]
        pools = [amount.name for amount in amounts if amount.kind is AmountKind.CREDIT]
        base = PlanTerms(True, {quota: limits_of(self.model.quotas.get(quota, {})) for quota in quotas})
        plans: dict[str, PlanTerms] | None = None if self.plans is None else {}
        for each in (self.plans or {}).values():
            included = {pool: each.credits[pool] for pool in pools if pool in each.credits}
            limits = {quota: limits_of(each.quotas.get(quota, {})) for quota in quotas}
            plans = {**(plans or {}), each.name: PlanTerms(each.includes(name), limits, included)}
        known = [scope for scope in entry.scopes if scope in self.scopes.rules]
        granting = tuple(self.scopes.granting(scope) for scope in known)
        return Terms(self.model.consent, self.model.default_plan, plans, base, granting)


def _on_unknown(amounts: tuple[Amount, ...]) -> OnUnknown:
    """Settle where items are paid once: the repeat is free, so nobody loses."""
    return OnUnknown.SETTLE if any(amount.once for amount in amounts) else OnUnknown.RELEASE


def limits_of(limits: Mapping[Any, int]) -> Mapping[Window, int]:
    """Limits as the rest of the sidecar knows them: the models' window names are text."""
    return dict(limits)


def _may_be_true(entry: ToolDocument, name: str) -> bool:
    schema = (entry.arguments or {}).get("properties", {}).get(name)
    kind = schema.get("type", "boolean") if isinstance(schema, dict) else "boolean"
    return kind == "boolean" or (isinstance(kind, list) and "boolean" in kind)
