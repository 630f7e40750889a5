"""The TLS files that a config names, as the loader finds them: in use, or a problem at their key.

Files are read whatever else is wrong with the config, so that all problems come at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sidecar.config.certificates import CertificateError, Credentials, read
from sidecar.config.documents import Document, DocumentError, Problem, validate
from sidecar.config.settings import BackendTls, ServerTls, Settings
from sidecar.workbench.lint import Notice

M = TypeVar("M", ServerTls, BackendTls)


@dataclass(frozen=True, slots=True)
class Tls:
    """What both sides speak TLS with.

    Attributes:
        listener: None where the listener speaks plain HTTP.
        backend: None where the backend does.
        notices: what is allowed and probably not meant.
    """

    listener: Credentials | None = None
    backend: Credentials | None = None
    notices: tuple[Notice, ...] = ()


def read_tls(settings: Settings | None, document: Document, base: Path) -> tuple[Tls, list[Problem]]:
    """Read the files of both sides.

    Args:
        settings: the config; None when something else is wrong with it.
        document: what it was read from.
        base: the folder that relative paths start from.

    Returns:
        What can be used, and what is wrong with the rest.
    """
    if settings is None:
        sources = _written(document, "listen", ServerTls, base), _written(document, "backend", BackendTls, base)
    else:
        https = settings.backend.url.startswith("https:")
        sources = settings.listen.tls, settings.backend.tls if https else None
    read_in = _Reading(document)
    listener = read_in.side("listen", sources[0])
    backend = read_in.side("backend", sources[1])
    return Tls(listener, backend, tuple(read_in.notices)), read_in.problems


class _Reading:
    def __init__(self, document: Document) -> None:
        self._document = document
        self.problems: list[Problem] = []
        self.notices: list[Notice] = []

    def side(self, section: str, source: ServerTls | BackendTls | None) -> Credentials | None:
        """The credentials of one side, if there are any and nothing is wrong with them."""
        if source is None:
            return None
        try:
            credentials = read(source)
        except CertificateError as error:
            self.problems += [
                self._document.problem((section, "tls", each.key), each.wrong, each.accepted) for each in error.faults
            ]
            return None
        untimely = credentials.untimely(datetime.now(UTC))
        if untimely is not None:
            self.notices.append(
                Notice(self._document.rule((section, "tls", "cert")), f"{section}.tls.cert: {untimely}")
            )
        return credentials


def _written(document: Document, section: str, model: type[M], base: Path) -> M | None:
    """What a section says of TLS, if that much of it is right; what is not is told by whoever reads it whole."""
    value = document.value.get(section)
    written = value.get("tls") if isinstance(value, dict) else None
    if not isinstance(written, dict):
        return None
    try:
        return validate(model, Document(document.file, written), base=base)
    except DocumentError:
        return None
