"""What a call is about: the declared operation that it makes, and others that it names beside."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind, PlanTerms, Terms
from sidecar.policy.methods import ELSEWHERE, has
from sidecar.policy.operations import unscoped
from sidecar.policy.rules import Operation, Policy, Resource
from sidecar.protocol import tasks, uris
from sidecar.protocol.references import References, references

_READ: Final = "resources/read"


class Subject(NamedTuple):
    """What a call is about.

    Attributes:
        operation: what is priced.
        beside: what it names beside, of which scopes and plans are asked too: the prompt or the resources of a
            completion, the resources that are listened to.
    """

    operation: Operation
    beside: tuple[Operation, ...] = ()

    @property
    def named(self) -> tuple[Operation, ...]:
        """All of them."""
        return (self.operation, *self.beside)

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes of all, as declared."""
        if not self.beside:
            return self.operation.scopes
        return tuple(dict.fromkeys(scope for each in self.named for scope in each.scopes))

    def terms(self, *, scoped: bool) -> Terms:
        """What gates 5-7 are told; without the scopes, for a token that lacks one."""
        if not self.beside:
            return self.operation.terms if scoped else self.operation.unscoped_terms
        terms = _joined(self.named)
        return terms if scoped else unscoped(terms)


def subject_of(policy: Policy, call: Call) -> Subject:
    """What a call is about.

    Raises:
        Refusal: `tool_unknown`, `resource_unknown`, `prompt_unknown` or `method_not_allowed` for what is not
            declared; `params_malformed` for a URI that could be read as another one.
    """
    if call.method == "tools/call" and call.kind is CallKind.REQUEST:
        name = call.params.get("name")
        tool = policy.tools.get(name) if type(name) is str else None
        if tool is None:
            raise Refusal(ErrorCode.TOOL_UNKNOWN)
        return Subject(tool)
    if not has(call) or call.kind not in (CallKind.REQUEST, CallKind.NOTIFICATION):
        raise _not_allowed(call)
    if call.method in ELSEWHERE:
        return Subject(_entry(policy, call))
    method = policy.methods.get(call.method)
    if method is None or (tasks.about(call.method) and not tasks.served(call.revision, policy.methods)):
        raise _not_allowed(call)  # where no tasks are served, nobody's are known
    return Subject(method, _beside(policy, references(call.method, call.params)))


def resource_of(policy: Policy, uri: str) -> Resource:
    """The declared resources that a URI belongs to.

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
        detail = "This URI could be taken for one that another rule is about; write it as it is listed."
        raise Refusal(ErrorCode.PARAMS_MALFORMED, detail, rule=resource.rule)
    return resource


def _not_allowed(call: Call) -> Refusal:
    # An unknown method is 404 in the stateless revision and 200 before (spec, basic: errors).
    return Refusal(ErrorCode.METHOD_NOT_ALLOWED, status=404 if call.revision.stateless else None)


def _entry(policy: Policy, call: Call) -> Operation:
    """The prompt or resources that a method of their own is about."""
    if call.kind is not CallKind.REQUEST:
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


def _beside(policy: Policy, named: References) -> tuple[Operation, ...]:
    found = [_prompt(policy, name) for name in named.prompts]
    found += [resource_of(policy, uri) for uri in named.uris]
    found += [resource for template in named.templates for resource in _completed(policy, template)]
    # In one order, whatever the client's: what belongs together is then joined once.
    return tuple(sorted(set(found), key=lambda operation: operation.name))


def _completed(policy: Policy, template: str) -> tuple[Operation, ...]:
    """The resources that completing a URI template may tell of.

    All that it may become must be declared, and whatever may be told of must be allowed: a completion of
    `docs://{path}` lists what is under `docs://secret/*` as well.
    """
    literals = uris.template_literals(template)
    if len(literals) == 1:
        return (resource_of(policy, template),)
    if any("{" in literal or "}" in literal for literal in literals):
        raise Refusal(ErrorCode.PARAMS_MALFORMED, "The braces of a URI template come in pairs.")
    fault = uris.fault_around(literals)
    if fault is not None:
        raise Refusal(ErrorCode.PARAMS_MALFORMED, fault)
    if not policy.patterns.covered(template):
        raise Refusal(ErrorCode.RESOURCE_UNKNOWN)
    return tuple(policy.resources[text] for text in policy.patterns.met(template, loosely=True))


@lru_cache(256)  # what belongs together does so at every call, and terms are known to the store's side by identity
def _joined(operations: tuple[Operation, ...]) -> Terms:
    """The terms of the first operation, as far as the others allow."""
    first, *others = (operation.terms for operation in operations)
    plans: Mapping[str, PlanTerms] | None = first.plans
    if plans is not None:
        plans = {name: _narrowed(name, terms, others) for name, terms in plans.items()}
    scopes = tuple(dict.fromkeys(granting for terms in (first, *others) for granting in terms.scopes))
    return Terms(first.consent, first.default_plan, plans, first.base, scopes)


def _narrowed(plan: str, terms: PlanTerms, others: list[Terms]) -> PlanTerms:
    allowed = terms.allowed and all(other.plans is not None and other.plans[plan].allowed for other in others)
    return PlanTerms(allowed, terms.quotas, terms.credits)
