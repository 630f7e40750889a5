"""Lookup of the declared operations that a call names: the one that it performs, and related ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind
from sidecar.policy.language.operations import unscoped
from sidecar.policy.methods import ELSEWHERE, has
from sidecar.policy.rules import Operation, Policy, Resource, Subject
from sidecar.protocol.references import References, references
from sidecar.protocol.tasks import task_support
from sidecar.protocol.uris import uris
from sidecar.terms import PlanTerms, Terms

# Members of enums as constants: as attributes of their classes they take ten times as long.
_REQUEST: Final = CallKind.REQUEST

MAX_EXPRESSIONS: Final = 100
"""The most expressions of a URI template that a completion names: the text between each two is folded on its own."""

_READ: Final = "resources/read"


def subject_of(policy: Policy, call: Call) -> Subject:
    """Find the declared operations that a call names.

    Raises:
        Refusal: `tool_unknown`, `resource_unknown`, `prompt_unknown` or `method_not_allowed` when the operation
            is not declared; `params_malformed` for an ambiguous URI.
    """
    if call.method == "tools/call" and call.kind is _REQUEST:
        name, tools = call.tool, policy.tools
        if type(name) is not str or name not in tools:
            raise Refusal(ErrorCode.TOOL_UNKNOWN)
        return tools[name].subject
    if not has(call) or call.kind not in (_REQUEST, CallKind.NOTIFICATION):
        raise _not_allowed(call)
    if call.method in ELSEWHERE:
        return _entry(policy, call).subject
    method = policy.methods.get(call.method)
    if method is None or (task_support.about(call.method) and not task_support.served(call.revision, policy.methods)):
        raise _not_allowed(call)  # the sidecar binds tasks to callers only where the policy serves tasks
    related = _related(policy, references(call.method, call.params))
    return _joined(method, related) if related else method.subject


def resource_of(policy: Policy, uri: str) -> Resource:
    """Find the declared resources that a URI belongs to.

    Raises:
        Refusal: `params_malformed` or `resource_unknown`.
    """
    fault = uris.fault(uri)
    if fault is not None:
        raise Refusal(ErrorCode.PARAMS_MALFORMED, fault)
    found = policy.patterns.find(uri)
    if found is None:
        raise Refusal(ErrorCode.RESOURCE_UNKNOWN)
    resource = policy.resources[found]
    if policy.patterns.ambiguous(uri, found):
        detail = "Another parser could read this URI as one of a different rule; use the URI exactly as listed."
        raise Refusal(ErrorCode.PARAMS_MALFORMED, detail, rule=resource.rule)
    return resource


def listed_resource(policy: Policy, uri: str) -> Resource | None:
    """Find the declared resources that a URI of a list belongs to; None where `resource_of` refuses it."""
    found = policy.patterns.find_certain(uri)
    return None if found is None else policy.resources[found]


def _not_allowed(call: Call) -> Refusal:
    # An unknown method is 404 in the stateless revision and 200 before (spec, basic: errors).
    return Refusal(ErrorCode.METHOD_NOT_ALLOWED, status=404 if call.revision.stateless else None)


def _entry(policy: Policy, call: Call) -> Operation:
    """Find the prompt or resources that a method names; they declare the method."""
    if call.kind is not _REQUEST:
        raise _not_allowed(call)
    named = references(call.method, call.params)
    if named.prompts:
        return _prompt(policy, named.prompts[0])
    resource = resource_of(policy, named.uris[0])
    return resource if call.method == _READ else resource.watching


def _prompt(policy: Policy, name: str) -> Operation:
    prompt = policy.prompts.get(name)
    if prompt is None:
        raise Refusal(ErrorCode.PROMPT_UNKNOWN)
    return prompt


def _related(policy: Policy, named: References) -> tuple[Operation, ...]:
    found = [_prompt(policy, name) for name in named.prompts]
    found += [resource_of(policy, uri) for uri in named.uris]
    found += [resource for template in named.templates for resource in _completed(policy, template)]
    # Sorted, so that the client's order does not matter to the cache of joined terms.
    return tuple(sorted(set(found), key=lambda operation: operation.name))


def _completed(policy: Policy, template: str) -> tuple[Operation, ...]:
    """Find the resources that the completion of a URI template may list.

    Every URI that the template may become must be declared, and every resource that the completion may
    list must be allowed: a completion of `docs://{path}` lists `docs://secret/*` as well.
    """
    literals = uris.template_literals(template)
    if len(literals) == 1:
        return (resource_of(policy, template),)
    if len(literals) > MAX_EXPRESSIONS + 1:
        detail = f"The URI template of a completion has at most {MAX_EXPRESSIONS} expressions."
        raise Refusal(ErrorCode.PARAMS_MALFORMED, detail)
    if any("{" in literal or "}" in literal for literal in literals):
        raise Refusal(ErrorCode.PARAMS_MALFORMED, "The braces of a URI template must come in pairs.")
    fault = uris.fault_around(literals)
    if fault is not None:
        raise Refusal(ErrorCode.PARAMS_MALFORMED, fault)
    if not policy.patterns.covered(template):
        raise Refusal(ErrorCode.RESOURCE_UNKNOWN)
    return tuple(policy.resources[text] for text in policy.patterns.met(template, loosely=True))


@lru_cache(256)  # the same operations are named together at every call, and their terms are encoded when joined
def _joined(first: Operation, related: tuple[Operation, ...]) -> Subject:
    """Return the subject of several operations: the terms of the first, narrowed by those of the others."""
    terms, others = first.terms, [operation.terms for operation in related]
    plans: Mapping[str, PlanTerms] | None = terms.plans
    if plans is not None:
        plans = {name: _narrowed(name, each, others) for name, each in plans.items()}
    granting = tuple(dict.fromkeys(scope for each in (terms, *others) for scope in each.scopes))
    joined = Terms(terms.consent, terms.default_plan, plans, terms.base, granting, terms.tool)
    scopes = tuple(dict.fromkeys(scope for each in (first, *related) for scope in each.scopes))
    return Subject(first, related, scopes, joined, unscoped(joined))


def _narrowed(plan: str, terms: PlanTerms, others: list[Terms]) -> PlanTerms:
    allowed = terms.allowed and all(other.plans is not None and other.plans[plan].allowed for other in others)
    return PlanTerms(allowed, terms.quotas, terms.credits, terms.shadow)
