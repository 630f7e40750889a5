"""Check of the TLS files that a config names: each becomes credentials, or a problem at its key.

Files are read even if the config has other problems, so that all are reported at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Any, TypeVar

from sidecar.config.documents.merging import Document, DocumentError, Path, Problem, validate
from sidecar.config.settings.admin_api_settings import AdminApiTls
from sidecar.config.settings.settings import BackendTls, ServerTls, Settings
from sidecar.config.tls_files import CertificateError, Credentials, TlsSource, read_credentials
from sidecar.workbench.lint import Notice

M = TypeVar("M", ServerTls, BackendTls, AdminApiTls)


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS credentials of listeners and backend.

    Attributes:
        listeners: credentials of each entry of `listen`; None for plain HTTP.
        backend: credentials for the backend; None for plain HTTP.
        notices: warnings, such as an expired certificate.
        admin_api: credentials of the admin API; None without TLS.
    """

    listeners: tuple[Credentials | None, ...] = (None,)
    backend: Credentials | None = None
    notices: tuple[Notice, ...] = ()
    admin_api: Credentials | None = None


def read_tls(settings: Settings | None, document: Document, base: FilePath) -> tuple[Tls, list[Problem]]:
    """Read the files of every side.

    Args:
        settings: the config; None when it has other problems.
        document: the document of the config.
        base: the folder of relative paths.

    Returns:
        the usable credentials, and the problems of the unusable ones.
    """
    written = document.value.get("listen")
    paths: list[Path] = [("listen",)]
    if isinstance(written, list):
        paths = [("listen", place) for place in range(len(written))]
    backend: BackendTls | None
    api: AdminApiTls | None
    if settings is None:
        listens = [_written(document, path, ServerTls, base) for path in paths]
        backend = _written(document, ("backend",), BackendTls, base)
        api = _written(document, ("admin_api",), AdminApiTls, base)
    else:
        listens = [each.tls for each in settings.listen]
        backend = settings.backend.tls if settings.backend.url.startswith("https:") else None
        api = None if settings.admin_api is None else settings.admin_api.tls
    read_in = _Reading(document)
    listeners = tuple(read_in.side(path, source) for path, source in zip(paths, listens, strict=True))
    sides = read_in.side(("backend",), backend), read_in.side(("admin_api",), api)
    return Tls(listeners, sides[0], tuple(read_in.notices), sides[1]), read_in.problems


class _Reading:
    def __init__(self, document: Document) -> None:
        self._document = document
        self.problems: list[Problem] = []
        self.notices: list[Notice] = []

    def side(self, path: Path, source: TlsSource | None) -> Credentials | None:
        """Read the credentials of one side; None without any, or with problems."""
        if source is None:
            return None
        try:
            credentials = read_credentials(source)
        except CertificateError as error:
            self.problems += [
                self._document.problem((*path, "tls", each.key), each.wrong, each.accepted) for each in error.faults
            ]
            return None
        problem = credentials.validity_problem(datetime.now(UTC))
        if problem is not None:
            self.notices.append(
                Notice(self._document.rule((*path, "tls", "cert")), f"{_words(path)}.tls.cert: {problem}")
            )
        return credentials


def _words(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else part for part in path)


def _written(document: Document, path: Path, model: type[M], base: FilePath) -> M | None:
    """Return the TLS keys of a section if they are valid; validation of the whole config reports invalid ones."""
    value: Any = document.value
    for part in path:
        value = value.get(part) if isinstance(value, dict) else value[part]
    written = value.get("tls") if isinstance(value, dict) else None
    if not isinstance(written, dict):
        return None
    try:
        return validate(model, Document(document.file, written), base=base)
    except DocumentError:
        return None
