"""Check of the files that issuers name: key sets and authorities, each with its problem at its key."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.config.documents.merging import Document, Problem
from sidecar.config.settings.settings import BackendTls, IssuerSettings, Settings
from sidecar.config.tls_files import CertificateError, read_credentials
from sidecar.identity.jwt.discovery import FetchError
from sidecar.identity.jwt.issuer_keys import table_of
from sidecar.identity.jwt.key_file import read_key_file


def issuer_file_problems(settings: Settings | None, document: Document) -> list[Problem]:
    """Read the files of all issuers; it blocks.

    Args:
        settings: the config; None when it has other problems.
        document: the document of the config.
    """
    issuers = () if settings is None else settings.issuers
    return [
        document.problem(("issuers", place, *key), wrong, accepted)
        for place, issuer in enumerate(issuers)
        for key, wrong, accepted in _faults(issuer)
    ]


def _faults(issuer: IssuerSettings) -> Iterator[tuple[tuple[str, str], str, str]]:
    if issuer.jwks is not None:
        try:
            table_of(issuer, read_key_file(issuer.jwks.file))
        except (FetchError, ValueError) as error:
            yield ("jwks", "file"), str(error), "a JWK set (RFC 7517) with a key for the accepted algorithms"
    if issuer.tls is not None:
        try:
            read_credentials(BackendTls(ca=issuer.tls.ca))
        except CertificateError as error:
            for fault in error.faults:
                yield ("tls", fault.key), fault.wrong, fault.accepted
