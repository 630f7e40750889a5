"""Loader of config and policy for `check`, `serve` and reloads, so that all three accept the same files.

A policy with failing tests does not load: a failed test is a problem like any other, reported at the
line of the test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sidecar.approval import ConfirmBy
from sidecar.config.documents.merging import Document, DocumentError, Position, Problem
from sidecar.config.file_reader import DiskReader, FileReader, FileRecord, RecordReader
from sidecar.config.files import FilesStamp, configured_policies, load_policies, missing_policies, read_config, stamp_of
from sidecar.config.settings.settings import Settings, salvaged_settings, settings_of
from sidecar.observe.tracing.setup import HOW_TO_INSTALL, NOT_INSTALLED, is_installed
from sidecar.policy.expressions.expressions import DEFAULT_ITEMS
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.rules import Policy
from sidecar.store.connection.store_url import parse_url
from sidecar.workbench.issuer_check import issuer_notices, issuer_problems
from sidecar.workbench.issuer_files import issuer_file_problems
from sidecar.workbench.known_issuers import unmatched_issuers
from sidecar.workbench.lint import Notice
from sidecar.workbench.testing import CaseOutcome, run_tests
from sidecar.workbench.tls_check import Tls, read_tls


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid config and its policy.

    Attributes:
        tls: the certificates; empty unless loaded for serving.
        notices: warnings about the issuers.
        stamp: stamp of config and policy files, from before they were read; None unless loaded for serving.
        files: content of these files.
    """

    settings: Settings
    policy: Policy
    tls: Tls = field(default_factory=Tls)
    stamp: FilesStamp | None = None
    notices: tuple[Notice, ...] = ()
    files: FileRecord = field(default_factory=FileRecord, repr=False)

    def shared_by(self, workers: int) -> Loaded:
        """Return it with the limits of one of so many workers."""
        limits = self.settings.limits.shared_by(workers)
        return replace(self, settings=self.settings.model_copy(update={"limits": limits}))


def load(
    config: Path, environ: Mapping[str, str] | None = None, *, serving: bool = True, record: FileRecord | None = None
) -> Loaded:
    """Read a config file and its policy, with everything that serving needs.

    Args:
        config: the file; paths in it are relative to its folder.
        environ: values of `${NAME}`; None: this process's environment.
        serving: True runs the policy's tests and reads the TLS files. Other commands skip both: they work
            while the policy's tests fail, and for users without access to the private key.
        record: contents that replace those on disk, except of key files and certificates.

    Raises:
        DocumentError: all problems of config and policy. An invalid config does not hide the problems of
            the policy as long as it names the policy files.
    """
    files = DiskReader() if record is None else RecordReader(record)
    config_stamp = stamp_of(config, ())
    try:
        document = read_config(config, environ, files)
    except DocumentError as error:
        raise DocumentError([*error.problems, *_default_policy_problems(config.parent, tests=serving)]) from None
    settings, rest, problems = _configured_settings(document, config.parent)
    tls = Tls()
    if serving:
        tls, wrong = read_tls(settings, document, config.parent)
        problems += [*wrong, *issuer_file_problems(settings, document)]
    policies = configured_policies(document, config.parent) if settings is None else settings.policies
    stamp = config_stamp + (() if policies is None else stamp_of(config, policies)[len(config_stamp) :])
    items = DEFAULT_ITEMS if settings is None else settings.limits.items
    policy, wrong = _configured_policy(document, policies, items, files, tests=serving)
    problems += wrong
    if rest is not None and policy is not None:
        problems += [*issuer_problems(rest, policy, document), *_page_problems(rest, policy)]
    if settings is None or policy is None or problems:
        raise DocumentError(problems)
    return Loaded(settings, policy, tls, stamp if serving else None, _notices(settings, policy, document), files.record)


def _notices(settings: Settings, policy: Policy, document: Document) -> tuple[Notice, ...]:
    return tuple(issuer_notices(settings, policy, document))


def _configured_settings(document: Document, folder: Path) -> tuple[Settings | None, Settings | None, list[Problem]]:
    """Return the settings of a config, those of its valid parts, and all problems."""
    settings: Settings | None
    rest: Settings | None
    problems: list[Problem] = []
    try:
        settings = rest = settings_of(document, folder)
    except DocumentError as error:
        settings = None
        rest, hidden = salvaged_settings(document, folder)
        problems = [*error.problems, *hidden]
    if rest is not None:
        problems += [*_store_problems(rest, document), *unmatched_issuers(rest, document)]
        if rest.tracing is not None and not is_installed():
            problems.append(document.problem(("tracing",), NOT_INSTALLED, HOW_TO_INSTALL, at_key=True))
    return settings, rest, problems


def load_policy(
    policies: Path | tuple[Path, ...],
    items: int = DEFAULT_ITEMS,
    files: FileReader | None = None,
    *,
    tests: bool = True,
) -> Policy:
    """Read policy files and run their tests.

    Args:
        policies: a folder, a file, or files in their order.
        items: maximum length of an expression's list of items (`limits.items`).
        files: reads the files; None: from disk.
        tests: True runs the tests.

    Raises:
        DocumentError: all problems of the files; without problems, the failed tests.
    """
    policy = compile_policy(load_policies(policies, files), items=items)
    failed = [outcome for outcome in run_tests(policy) if not outcome.passed] if tests else []
    if failed:
        raise DocumentError(map(_problem, failed))
    return policy


def _configured_policy(
    document: Document, policies: Path | tuple[Path, ...] | None, items: int, files: FileReader, *, tests: bool
) -> tuple[Policy | None, list[Problem]]:
    """Read the policy that a config names; None with problems, or when the config names none."""
    if policies is None:
        return None, []
    missing = list(missing_policies(document, policies, files))
    if not all(files.exists(each) for each in ([policies] if isinstance(policies, Path) else policies)):
        return None, missing
    try:
        return load_policy(policies, items, files, tests=tests), missing
    except DocumentError as error:
        return None, [*missing, *error.problems]


def _default_policy_problems(folder: Path, *, tests: bool) -> tuple[Problem, ...]:
    """Return the problems of the default policy folder, for a config that is no YAML."""
    policies = folder / Settings.model_fields["policies"].default
    try:
        if policies.is_dir():
            load_policy(policies, tests=tests)
    except DocumentError as error:
        return error.problems
    return ()


def _store_problems(settings: Settings, document: Document) -> list[Problem]:
    """Return the problems of the store's URL, as the connection parses it; they never repeat the URL."""
    if settings.store.embedded:
        return []
    try:
        parse_url(settings.store.url)
    except ValueError as error:
        return [document.problem(("store", "url"), str(error))]
    return []


def _page_problems(settings: Settings, policy: Policy) -> Iterator[Problem]:
    """Yield the tools that are confirmed on an account page which the config does not have."""
    for tool in policy.tools.values() if settings.account_page is None else ():
        if tool.confirm is not None and tool.confirm.by is ConfirmBy.PAGE:
            wrong, accepted = "the config has no account_page", "account_page in the config, or by: person"
            yield Problem(_position(tool.confirm.rule), f"tools.{tool.name}.confirm", wrong, accepted)


def _position(rule: str) -> Position:
    file, _, line = rule.rpartition(":")
    return Position(file, int(line))


def _problem(outcome: CaseOutcome) -> Problem:
    wrong = f"the test {outcome.place!r} expects {outcome.expected} and got {outcome.got}"
    if outcome.decided is not None:
        wrong += f"; decided by {outcome.decided}"
    return Problem(_position(outcome.rule), "tests", wrong)
