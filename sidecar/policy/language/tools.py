"""Compiler of tools: operations with argument rules, confirmation and rows."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from sidecar.approval import ConfirmBy
from sidecar.config.documents.merging import Path
from sidecar.config.documents.suggestions import nearest
from sidecar.model import AmountKind
from sidecar.policy.arguments import ArgumentRules
from sidecar.policy.confirming.confirm_rule import Confirm
from sidecar.policy.confirming.message_template import MessageTemplate, TemplateError
from sidecar.policy.expressions.expressions import AFTER, BEFORE, Expression
from sidecar.policy.language.argument_schemas import argument_rules
from sidecar.policy.language.models import ConfirmDocument, ToolDocument
from sidecar.policy.language.operations import Entry, OperationCompiler, default_on_unknown, meta_names, unscoped
from sidecar.policy.language.shadow_mode import MODE, is_shadow
from sidecar.policy.names import Names
from sidecar.policy.narrowing.schema_narrowing import Narrowing
from sidecar.policy.plain_arguments import PlainRules, plain_rules
from sidecar.policy.pricing import Amount, Prices
from sidecar.policy.rules import Kind, Tool
from sidecar.policy.serving.own_tools import OWN_TOOLS

_NOT_SERVED: Final = ("arguments", "confirm", "rows", "timeout", "charge_errors", "on_unknown", "pin")


class ToolCompiler(OperationCompiler):
    """Compiler of the tools of one policy; problems go to the checker."""

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
            arguments=replace(arguments, plain=_plain(arguments)),
            prices=Prices.of(amounts, rows, self.items),
            terms=terms,
            unscoped_terms=unscoped(terms),
            rule=document.rule(path),
            scopes_rule=document.rule((*path, "scopes")),
            arguments_rule=document.rule((*path, "arguments")),
            meta=meta_names(amounts, rows),
            confirm=self._confirm(name, entry, path),
            serve=entry.serve,
            pin=entry.pin,
            charge_errors=bool(entry.charge_errors),
            on_unknown=entry.on_unknown or default_on_unknown(amounts),
            timeout=entry.timeout,
        )

    def _check_served(self, entry: ToolDocument, path: Path) -> None:
        if entry.serve is None:
            return
        for key in _NOT_SERVED:
            confirms = key == "confirm" and OWN_TOOLS[entry.serve].changes
            if getattr(entry, key) is not None and not confirms:
                wrong = "the sidecar answers this tool itself"
                self.checker.wrong((*path, key), wrong, "not together with serve", at_key=True)

    # --- arguments and confirmation ------------------------------------------------------------

    def _arguments(self, entry: ToolDocument, path: Path) -> ArgumentRules:
        document, problems, place = self.checker.document, self.checker.problems, (*path, "arguments")
        schema = _schema(entry)
        shadow = schema is not None and is_shadow(document, place, schema, problems)
        schema = schema and {key: value for key, value in schema.items() if key != MODE}
        rules = argument_rules(document, place, schema, problems)
        if shadow:  # neither defaults nor names of the schema apply; those of prices and of the confirmation do
            rules = ArgumentRules(Names(), declared=rules.declared, shadow=rules)
        confirm = entry.confirm
        if confirm is None:
            return rules
        self._check_confirm(confirm, rules.shadow or rules, entry, (*path, "confirm"))
        template = self._template(confirm, rules.declared, (*path, "confirm"))
        if confirm.mode is not None:
            return rules
        for name in (*(() if template is None else template.names), *filter(None, (confirm.argument,))):
            rules.names.child(name)
        if confirm.argument is None:
            return rules
        if rules.shadow is not None:
            removed = confirm.argument if confirm.inject else None
            rules = replace(rules, shadow=replace(rules.shadow, removed=removed))
        return replace(rules, removed=confirm.argument) if confirm.inject else _described(rules, confirm)

    def _check_confirm(self, confirm: ConfirmDocument, rules: ArgumentRules, entry: ToolDocument, path: Path) -> None:
        self._check_parts(confirm, path)
        name = confirm.argument
        if name is None:
            return
        place = (*path, "argument")
        declared = name in rules.declared
        if confirm.inject and declared:
            self.checker.wrong(place, f"{name!r} is both injected and declared in arguments", "one of the two")
        elif not confirm.inject and not declared:
            near, accepted = nearest(name, rules.declared), "a declared boolean, or inject: true"
            self.checker.wrong(place, f"{name!r} is not declared in arguments", accepted, near=near)
        elif declared and name in rules.defaults:
            default = (*path[:-1], "arguments", "properties", name, "default")
            self.checker.wrong(default, "a default would confirm for the caller", "no default", at_key=True)
        elif declared and not _may_be_true(entry, name):
            self.checker.wrong(place, f"{name!r} is not declared as a boolean", "type: boolean")

    def _check_parts(self, confirm: ConfirmDocument, path: Path) -> None:
        """Check that the keys of a confirmation belong together."""
        by, wrong = confirm.by, self.checker.wrong
        if by is ConfirmBy.ARGUMENT:
            if confirm.argument is None:
                wrong((*path, "argument"), "required but missing", "the argument that confirms a call", at_key=True)
            for key, given in (("or", confirm.fallback), ("title", confirm.title)):
                if given is not None:
                    wrong((*path, key), "no person is asked", "together with by: person or by: page", at_key=True)
        elif confirm.argument is not None and confirm.fallback is None:
            accepted = "or: argument, if clients that cannot ask may set it"
            wrong((*path, "argument"), f"by: {by.value} asks a person, and no argument confirms", accepted, at_key=True)
        elif confirm.fallback is not None and confirm.argument is None:
            wrong((*path, "or"), "there is no argument to fall back to", "together with argument", at_key=True)
        elif confirm.inject and confirm.argument is None:
            wrong((*path, "inject"), "there is no argument to add", "together with argument", at_key=True)

    def _template(self, confirm: ConfirmDocument, declared: Container[str], path: Path) -> MessageTemplate | None:
        """Return the text for a person, whose names must be those of declared arguments."""
        if confirm.by is ConfirmBy.ARGUMENT or confirm.message is None:
            return None
        place = (*path, "message")
        try:
            template = MessageTemplate.parse(confirm.message)
        except TemplateError as fault:
            self.checker.wrong(place, str(fault), "text with {NAME} for the values of declared arguments")
            return None
        for name in template.names:
            if name not in declared:
                accepted = "a property of arguments"
                self.checker.wrong(place, f"shows {name!r}, which is not declared in arguments", accepted)
        return template

    def _confirm(self, name: str, entry: ToolDocument, path: Path) -> Confirm | None:
        confirm, document = entry.confirm, self.checker.document
        if confirm is None:
            return None
        template = None
        if confirm.by is not ConfirmBy.ARGUMENT and confirm.message is not None:
            with contextlib.suppress(TemplateError):  # the checker has reported it
                template = MessageTemplate.parse(confirm.message)
        return Confirm(
            confirm.argument,
            _message(confirm),
            confirm.inject,
            document.rule((*path, "confirm")),
            shadow=confirm.mode is not None,
            by=confirm.by,
            title=confirm.title or name,
            template=template,
            digest=_digest(document.value, name),
        )

    # --- amounts -------------------------------------------------------------------------------

    def _priced(self, entry: ToolDocument, path: Path) -> Iterator[Entry]:
        default = entry.uses is None
        uses = self.model.defaults.uses if entry.uses is None else entry.uses
        yield AmountKind.QUOTA, uses, ("defaults", "uses") if default else (*path, "uses")
        yield AmountKind.CREDIT, entry.spends, (*path, "spends")

    def _note_reads(
        self, arguments: ArgumentRules, amounts: tuple[Amount, ...], rows: Expression | None, path: Path
    ) -> None:
        """Check that expressions read declared arguments only, and refuse names confusable with these."""
        expressions = [(part, amount.name) for amount in amounts for part in amount.expressions]
        expressions += [(rows, "rows")] if rows is not None else []
        for expression, key in expressions:
            for root, *fields in expression.reads:
                if root != "arguments" or not fields:
                    continue
                if fields[0] not in arguments.declared:
                    self._undeclared(str(fields[0]), key, arguments, path)
                arguments.names.add(fields)
                if arguments.shadow is not None:
                    self._check_default(str(fields[0]), key, arguments.shadow, path)
                    arguments.shadow.names.add(fields)

    def _check_default(self, name: str, key: str, shadow: ArgumentRules, path: Path) -> None:
        if name in shadow.defaults:
            place = (*path, "arguments", "properties", name, "default")
            wrong = f"arguments in shadow mode add no default, and the price {key} reads {name!r}"
            self.checker.wrong(place, wrong, "enforced arguments, or a price that does not read it", at_key=True)

    def _undeclared(self, name: str, key: str, arguments: ArgumentRules, path: Path) -> None:
        accepted = ", ".join(arguments.declared) or "none is declared; declare it in arguments.properties"
        where = next((p for p in self._places(key, path) if p in self.checker.document.values), path)
        wrong = f"reads the argument {name!r}, which {path[1]} does not declare"
        self.checker.wrong(where, wrong, accepted, near=nearest(name, arguments.declared))

    def _places(self, key: str, path: Path) -> tuple[Path, ...]:
        return ((*path, "uses", key), (*path, "spends", key), (*path, key), ("defaults", "uses", key))


def _message(confirm: ConfirmDocument) -> str:
    default = f"This call needs an explicit confirmation: repeat it with {confirm.argument} set to true."
    return confirm.message or default if confirm.by is ConfirmBy.ARGUMENT else default


def _digest(declared: Any, name: str) -> str:
    """Return the digest of everything that a tool's declaration says; the same in every process with this policy."""
    rule = {"tool": declared["tools"][name], "defaults": declared.get("defaults")}
    text = json.dumps(rule, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _described(rules: ArgumentRules, confirm: ConfirmDocument) -> ArgumentRules:
    """Return the rules with the confirmation of the backend's own described in lists, unless it is already.

    It stays optional: the refusal of a call without it names the price, which a person should hear first.
    """
    schema = rules.schema
    if schema is None or rules.narrowing is None or confirm.argument is None or confirm.argument not in rules.declared:
        return rules
    properties = schema["properties"]
    own = properties[confirm.argument]
    own = {"description": _message(confirm), **(own if isinstance(own, dict) else {})}
    described = {**schema, "properties": {**properties, confirm.argument: own}}
    return replace(rules, narrowing=Narrowing(described, rules.defaults))


def _plain(rules: ArgumentRules) -> PlainRules | None:
    """Return the rules for plain arguments, once all names that the policy reads are known."""
    if rules.schema is not None and rules.validator is None:
        return None  # the policy does not compile
    return plain_rules(rules.schema, rules.defaults, rules.names.folded)


def _schema(entry: ToolDocument) -> Mapping[str, Any] | None:
    return entry.arguments if entry.serve is None else OWN_TOOLS[entry.serve].schema


def _may_be_true(entry: ToolDocument, name: str) -> bool:
    schema = (_schema(entry) or {}).get("properties", {}).get(name)
    kind = schema.get("type", "boolean") if isinstance(schema, dict) else "boolean"
    return kind == "boolean" or (isinstance(kind, list) and "boolean" in kind)
