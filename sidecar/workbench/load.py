"""The one loader: what `check` finds fine is what `serve` serves, and what a reload takes over.

A policy whose own tests fail does not load: a rule that does not do what its author says is a mistake
like any other, and is told at the line of the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.config.documents import Document, DocumentError, Place, Problem
from sidecar.config.enforced import withheld
from sidecar.config.load import configured_policies, load_policies, read_config
from sidecar.config.settings import Settings, settings_of
from sidecar.ledger.endpoint import parse_url
from sidecar.policy.compile import DEFAULT_ITEMS, compile_policy
from sidecar.policy.rules import Policy
from sidecar.workbench.certificates import Tls, read_tls
from sidecar.workbench.testing import Outcome, run_tests


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config and its policy, both whole.

    Attributes:
        tls: the certificates in use; none unless it was loaded for serving.
    """

    settings: Settings
    policy: Policy
    tls: Tls = field(default_factory=Tls)


def load(config: Path, environ: Mapping[str, str] | None = None, *, serving: bool = True) -> Loaded:
    """Read a config file and its policy, and do what serving by them needs.

    Args:
        config: the file; paths in it are relative to its folder.
        environ: what `${NAME}` stands for; None: this process's environment.
        serving: whether to run the policy's tests and to read the TLS files. Commands that serve nothing
            leave it out, so that a credit can be granted while a policy is being worked on, or by a user
            who may not read the private key.

    Raises:
        DocumentError: all problems of config and policy. A config that is wrong does not hide those of
            the policy as long as it says where the policy is.
    """
    document = withheld(read_config(config, environ))
    settings, policy = None, None
    problems: list[Problem] = []
    try:
        settings = settings_of(document, config.parent)
        problems += _store_problems(settings, document)
    except DocumentError as error:
        problems += error.problems
    tls = Tls()
    if serving:
        tls, wrong = read_tls(settings, document, config.parent)
        problems += wrong
    policies = configured_policies(document, config.parent) if settings is None else settings.policies
    if policies is not None:
        try:
            policy = load_policy(policies, DEFAULT_ITEMS if settings is None else settings.limits.items, tests=serving)
        except DocumentError as error:
            problems += error.problems
    if settings is None or policy is None or problems:
        raise DocumentError(problems)
    return Loaded(settings, policy, tls)


def load_policy(policies: Path | tuple[Path, ...], items: int = DEFAULT_ITEMS, *, tests: bool = True) -> Policy:
    """Read policy files, and run their tests.

    Args:
        policies: a folder, a file, or files in their order.
        items: the longest list of items an expression may give (`limits.items`).
        tests: whether to run the tests.

    Raises:
        DocumentError: all that is wrong with them; where nothing is, the tests that fail.
    """
    policy = compile_policy(load_policies(policies), items=items)
    failed = [outcome for outcome in run_tests(policy) if not outcome.passed] if tests else []
    if failed:
        raise DocumentError(map(_problem, failed))
    return policy


def _store_problems(settings: Settings, document: Document) -> list[Problem]:
    """What only the part that connects can say of the store's URL; it never repeats the URL."""
    if settings.store.embedded:
        return []
    try:
        parse_url(settings.store.url)
    except ValueError as error:
        return [document.problem(("store", "url"), str(error))]
    return []


def _problem(outcome: Outcome) -> Problem:
    file, _, line = outcome.rule.rpartition(":")
    wrong = f"the test {outcome.name!r} expects {outcome.expected} and got {outcome.got}"
    return Problem(Place(file, int(line)), "tests", wrong)
