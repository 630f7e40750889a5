"""Compiles tools: beside what every operation has, argument rules, confirmation and rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sidecar.config.documents import Path
from sidecar.model import AmountKind
from sidecar.policy.arguments import ArgumentRules
from sidecar.policy.expressions import AFTER, BEFORE, Expression
from sidecar.policy.models import ConfirmDocument, ToolDocument
from sidecar.policy.operations import Entry, OperationCompiler, default_on_unknown, meta_names, unscoped
from sidecar.policy.pricing import Amount, Prices
from sidecar.policy.rules import Confirm, Kind, Tool
from sidecar.policy.schemas import argument_rules

_EMPTY_SCHEMA: Final = {"type": "object", "properties": {}, "additionalProperties": False}
_NOT_SERVED: Final = ("arguments", "confirm", "rows", "timeout", "charge_errors", "on_unknown")


class ToolCompiler(OperationCompiler):
    """Compiles the tools of one policy; problems go to the checker."""

    before = BEFORE
    after = AFTER

    def compile(self, name: str, entry: ToolDocument) -> Tool:
        """Compile one tool."""
        path: Path = ("tools", name)
        self.checker.known("scopes", entry.scopes, (*path, "scopes"))
        self._check_served(entry, path)
        arguments = self._arguments(entry, path)
        amounts = self._amounts(self._priced(entry, path), path)
        rows = self._expression(entry.rows, AFTER, (*path, "rows"))
        self._note_reads(arguments, amounts, rows, path)
        terms = self._terms(Kind.TOOL, name, entry.scopes, amounts)
        document = self.checker.document
        return Tool(
            kind=Kind.TOOL,
            name=name,
            scopes=entry.scopes,
            arguments=arguments,
            prices=Prices.of(amounts, rows, self.items),
            terms=terms,
            unscoped_terms=unscoped(terms),
            rule=document.rule(path),
            scopes_rule=document.rule((*path, "scopes")),
            arguments_rule=document.rule((*path, "arguments")),
            meta=meta_names(amounts, rows),
            confirm=self._confirm(entry, path),
            serve=entry.serve,
            charge_errors=bool(entry.charge_errors),
            on_unknown=entry.on_unknown or default_on_unknown(amounts),
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

    def _priced(self, entry: ToolDocument, path: Path) -> Iterator[Entry]:
        default = entry.uses is None
        uses = self.model.defaults.uses if entry.uses is None else entry.uses
        yield AmountKind.QUOTA, uses, ("defaults", "uses") if default else (*path, "uses")
        yield AmountKind.CREDIT, entry.spends, (*path, "spends")

    def _note_reads(
        self, arguments: ArgumentRules, amounts: tuple[Amount, ...], rows: Expression | None, path: Path
    ) -> None:
        """Expressions may read declared arguments only, and what they read nobody may disguise."""
        expressions = [(part, amount.name) for amount in amounts for part in amount.expressions]
        expressions += [(rows, "rows")] if rows is not None else []
        for expression, what in expressions:
            for root, *fields in expression.reads:
                if root != "arguments" or not fields:
                    continue
                if fields[0] not in arguments.declared:
                    self._undeclared(str(fields[0]), what, arguments, path)
                arguments.names.add(fields)

    def _undeclared(self, name: str, what: str, arguments: ArgumentRules, path: Path) -> None:
        accepted = ", ".join(arguments.declared) or "none is declared; declare it in arguments.properties"
        where = next((p for p in self._places(what, path) if p in self.checker.document.values), path)
        self.checker.wrong(where, f"reads the argument {name!r}, which {path[1]} does not declare", accepted)

    def _places(self, what: str, path: Path) -> tuple[Path, ...]:
        return ((*path, "uses", what), (*path, "spends", what), (*path, what), ("defaults", "uses", what))


def _may_be_true(entry: ToolDocument, name: str) -> bool:
    schema = (entry.arguments or {}).get("properties", {}).get(name)
    kind = schema.get("type", "boolean") if isinstance(schema, dict) else "boolean"
    return kind == "boolean" or (isinstance(kind, list) and "boolean" in kind)
