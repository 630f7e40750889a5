"""Warnings of `check`, in one list; they never change its exit status."""

from __future__ import annotations

from pathlib import Path

from sidecar.cli.store_check import store_notices
from sidecar.config.documents.merging import Document, DocumentError, merge
from sidecar.config.files import load_policies, named_policies, read_config
from sidecar.policy.language.reading import JOINED, NAMED
from sidecar.workbench.known_issuers import doubtful_issuers
from sidecar.workbench.lint import Notice, lint
from sidecar.workbench.linting.config_warnings import config_warnings, unread_files
from sidecar.workbench.linting.policy_warnings import policy_warnings
from sidecar.workbench.loading import Loaded


def check_warnings(loaded: Loaded, config: Path) -> tuple[Notice, ...]:
    """Return every warning about a valid config and its policy, with the lines of both.

    Args:
        loaded: the valid files.
        config: the config file, which is read again for the positions.

    Raises:
        DocumentError: a file has become unreadable.
        CommandError: the store is reachable and cannot or must not be used.
    """
    settings, policy = loaded.settings, loaded.policy
    document, policies = read_config(config), _policy_document(settings.policies)
    granted = {scope for issuer in settings.issuers for grant in issuer.grants for scope in grant.scopes}
    return (
        *loaded.tls.notices,
        *loaded.notices,
        *doubtful_issuers(settings, document),
        *config_warnings(settings, document),
        *unread_files(settings.policies),
        *lint(policy, granted, policies),
        *policy_warnings(policy, policies),
        *store_notices(settings),
    )


def warnings_without_policy(config: Path) -> tuple[Notice, ...]:
    """Return the warnings that may explain the problems of invalid files."""
    try:
        policies = named_policies(config)
    except DocumentError:
        return ()
    return () if policies is None else tuple(unread_files(policies))


def _policy_document(policies: Path | tuple[Path, ...]) -> Document:
    return merge(load_policies(policies), named=NAMED, joined=JOINED)
